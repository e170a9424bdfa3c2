"""SNAC as hubertsiuzdak/snac publishes it: DAC's layout with noise blocks, windowed attention and depthwise convolutions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from ...layouts import dac_keys
from ...layouts.configs import check_round_trip, factorised_rvq, one_number, the_quantizer
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, WeightNorm
from ...layouts.layout import Layout
from ...quantizers.residual_vq import ResidualVQConfig
from .model import HEAD_DIM, SNACConfig


def _snac(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `SNAC`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    strides, width = f.take("encoder_rates", [3, 3, 7, 7]), f.take("encoder_dim", 64)
    top = width * 2 ** len(strides)
    if f.take("latent_dim", None) not in (None, top):
        raise ValueError(f"config.latent_dim must be {top}, the encoder's width: the authors' class has no layer between the two.")
    window, levels = f.take("attn_window_size", 32), f.take("vq_strides", [8, 4, 2, 1])
    if window == 0:
        raise ValueError("config.attn_window_size is 0; give a positive number of frames, or null for a model without attention.")
    out = {
        "sample_rate_hz": f.take("sampling_rate", 44100),
        "strides": strides,
        "decoder_strides": f.take("decoder_rates", [7, 7, 3, 3]),
        "encoder_width": width,
        "decoder_width": f.take("decoder_dim", 1536),
        "window": window or 0,
        "depthwise": f.take("depthwise", True),
        "noise": f.take("noise", True),
        "quantizer": factorised_rvq(
            num_codebooks=len(levels),
            strides=levels,
            codebook_size=f.take("codebook_size", 4096),
            codebook_dim=f.take("codebook_dim", 8),
        ),
    }
    f.done()
    return out


def _normal(own: SNACConfig) -> SNACConfig:
    """`own` with the decoder's strides and the strides of all levels filled in."""
    q = own.quantizer
    if isinstance(q, ResidualVQConfig):
        q = dataclasses.replace(q, strides=q.strides or (1,) * q.num_codebooks)
    return dataclasses.replace(own, decoder_strides=own.ups, quantizer=q)


def _say(own: SNACConfig) -> dict[str, Any]:
    """Keyword arguments of `SNAC`."""
    own = _normal(own)
    q = the_quantizer(own.quantizer, ResidualVQConfig)
    theirs = {
        "sampling_rate": own.sample_rate_hz,
        "encoder_dim": own.encoder_width,
        "encoder_rates": list(own.strides),
        "decoder_dim": own.decoder_width,
        "decoder_rates": list(own.decoder_strides),
        "attn_window_size": own.window or None,
        "codebook_size": one_number("quantizer.codebook_size", q.codebook_size),
        "codebook_dim": one_number("quantizer.codebook_dim", q.codebook_dim),
        "vq_strides": list(q.strides),
        "noise": own.noise,
        "depthwise": own.depthwise,
    }
    return check_round_trip(own, theirs, _snac)


def _attention(theirs: str, ours: str) -> list[Row]:
    return [
        (f"{theirs}.norm.*", f"{ours}.norm.*"),
        (f"{theirs}.to_qkv.weight", f"{ours}.qkv.weight"),
        (f"{theirs}.to_out.weight", f"{ours}.out.weight"),
        (f"{theirs}.rel_pos.{{inv_freq|scale}}", None),  # rotary frequencies: computed
    ]


def _frequencies(*places: str) -> Then:
    """Write the rotary frequencies, which the authors' class computes but still requires in the file."""
    values = 1 / 10000 ** (torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)

    def write(state: State) -> State:
        return state | {f"{place}.rel_pos.inv_freq": values.clone() for place in places}

    return Then(dict, write)


def _keys(own: SNACConfig) -> KeyMap:
    downs, ups, window = len(own.strides), len(own.decoder_strides or own.strides), int(bool(own.window))
    stem = 2 if own.depthwise else 1
    first = stem + window  # the authors' number of the decoder's first level
    rows: list[Row] = [("encoder.block.0.*", "encoder.stem.*")]
    for i in range(downs):
        rows += dac_keys.down(f"encoder.block.{i + 1}", f"encoder.levels.{i}")
    rows += _attention(f"encoder.block.{downs + 1}", "encoder.attention") if window else []
    rows += [(f"encoder.block.{downs + 1 + window}.*", "encoder.head.*"), *dac_keys.QUANTIZER]
    rows += [("decoder.model.{0|1}.*", "decoder.stem.{0|1}.*")] if own.depthwise else [("decoder.model.0.*", "decoder.stem.*")]
    rows += _attention(f"decoder.model.{stem}", "decoder.attention") if window else []
    for i in range(ups):
        rows += dac_keys.up(f"decoder.model.{first + i}", f"decoder.levels.{i}", noise=own.noise)
    rows += [(f"decoder.model.{first + ups}.alpha", "decoder.act.alpha"), (f"decoder.model.{first + ups + 1}.*", "decoder.head.*")]
    places = (f"encoder.block.{downs + 1}", f"decoder.model.{stem}") if window else ()
    return KeyMap(WeightNorm("parametrizations"), _frequencies(*places), Rename(rows), dac_keys.linear_projections())


LAYOUTS = (
    Layout(
        system="snac",
        upstream="hubertsiuzdak/snac snac/snac.py SNAC",
        family="snac",
        config=_snac,
        keys=_keys,
        authors_config=_say,
        files=("config.json", "pytorch_model.bin"),
    ),
)
