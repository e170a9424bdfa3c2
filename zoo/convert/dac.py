"""DAC as descriptinc/descript-audio-codec and transformers publish it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...codecs.audio.dac import DACConfig
from .tools import dac_keys
from .tools.configs import factorised_rvq
from .tools.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from .tools.keymap import KeyMap, Rename, Unwrap, WeightNorm
from .tools.layout import Layout


def one_width(name: str, value: int | Sequence[int]) -> int:
    """The one codebook width; ValueError where levels differ."""
    widths = {value} if isinstance(value, int) else set(value)
    if len(widths) != 1:
        raise ValueError(f"{name} is {value}: levels of different widths are not supported.")
    return widths.pop()


def _dac(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `DAC`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    out = {
        "sample_rate_hz": f.take("sample_rate", 44100),
        "strides": f.take("encoder_rates", [2, 4, 8, 8]),
        "decoder_strides": f.take("decoder_rates", [8, 8, 4, 2]),
        "encoder_width": f.take("encoder_dim", 64),
        "decoder_width": f.take("decoder_dim", 1536),
        "latent_dim": f.take("latent_dim", None) or 0,
        "quantizer": factorised_rvq(
            num_codebooks=f.take("n_codebooks", 9),
            codebook_size=f.take("codebook_size", 1024),
            codebook_dim=one_width("codebook_dim", f.take("codebook_dim", 8)),
            dropout=float(f.take("quantizer_dropout", 0.0)),
        ),
    }
    f.done()
    return out


def _dac_keys(own: DACConfig) -> KeyMap:
    rows = [*dac_keys.encoder(len(own.strides)), *dac_keys.QUANTIZER, *dac_keys.decoder(len(own.ups))]
    return KeyMap(Unwrap("state_dict"), WeightNorm(), Rename(rows), dac_keys.linear_projections())


# --- transformers -----------------------------------------------------------------------------------------------------


def _dac_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """`DacConfig` of transformers. A key of ours, `pad_to_frames`, asks for the feature extractor's padding."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    strides, width = f.take("downsampling_ratios", [2, 4, 8, 8]), f.take("encoder_hidden_size", 64)
    f.require("upsampling_ratios", list(reversed(strides)))  # the class derives it
    # derived from the rates; published files hold a default that was not recomputed (hop_length 512 with rates of 320)
    f.drop("hidden_size", "hop_length")
    out = {
        "sample_rate_hz": f.take("sampling_rate", 16000),
        "strides": strides,
        "encoder_width": width,
        "decoder_width": f.take("decoder_hidden_size", 1536),
        "quantizer": factorised_rvq(
            num_codebooks=f.take("n_codebooks", 9),
            codebook_size=f.take("codebook_size", 1024),
            codebook_dim=f.take("codebook_dim", 8),
            dropout=float(f.take("quantizer_dropout", 0.0)),
            commitment_weight=f.take("commitment_loss_weight", 0.25),
            codebook_weight=f.take("codebook_loss_weight", 1.0),
        ),
        "fill": "frame" if f.take("pad_to_frames", False) else "none",
    }
    f.done(swallowed=True)
    return out


def _hf_keys(own: DACConfig) -> KeyMap:
    sides = [row for side in ("encoder", "decoder") for row in dac_keys.transformers_side(side)]
    return KeyMap(WeightNorm(written=""), Rename([*sides, *dac_keys.QUANTIZER]), dac_keys.linear_projections())


LAYOUTS = (
    Layout(
        system="dac",
        upstream="descriptinc/descript-audio-codec dac/model/dac.py DAC",
        family="dac",
        config=_dac,
        keys=_dac_keys,
    ),
    Layout(
        system="dac-hf",
        upstream="huggingface/transformers models/dac DacModel",
        family="dac",
        config=_dac_hf,
        keys=_hf_keys,
        model_type="dac",
    ),
)
