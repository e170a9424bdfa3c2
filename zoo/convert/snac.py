"""SNAC as hubertsiuzdak/snac publishes it: DAC's layout with noise blocks, windowed attention and depthwise convolutions."""

from collections.abc import Mapping
from typing import Any

from ...codecs.audio.snac import SNACConfig
from .tools import dac_keys
from .tools.configs import factorised_rvq
from .tools.fields import FOLDER_KEYS, Fields
from .tools.keymap import KeyMap, Rename, Row, WeightNorm
from .tools.layout import Layout


def _snac(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `SNAC`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    strides, width = f.take("encoder_rates", [3, 3, 7, 7]), f.take("encoder_dim", 64)
    top = width * 2 ** len(strides)
    if f.take("latent_dim", None) not in (None, top):
        raise ValueError(f"config.latent_dim must be {top}, the encoder's width: nothing maps it to another.")
    levels = f.take("vq_strides", [8, 4, 2, 1])
    out = {
        "sample_rate_hz": f.take("sampling_rate", 44100),
        "strides": strides,
        "decoder_strides": f.take("decoder_rates", [7, 7, 3, 3]),
        "encoder_width": width,
        "decoder_width": f.take("decoder_dim", 1536),
        "window": f.take("attn_window_size", 32) or 0,
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


def _attention(theirs: str, ours: str) -> list[Row]:
    return [
        (f"{theirs}.norm.*", f"{ours}.norm.*"),
        (f"{theirs}.to_qkv.weight", f"{ours}.qkv.weight"),
        (f"{theirs}.to_out.weight", f"{ours}.out.weight"),
        (f"{theirs}.rel_pos.{{inv_freq|scale}}", None),  # rotary frequencies: computed
    ]


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
    return KeyMap(WeightNorm(), Rename(rows), dac_keys.linear_projections())


LAYOUTS = (Layout(system="snac", upstream="hubertsiuzdak/snac snac/snac.py SNAC", family="snac", config=_snac, keys=_keys),)
