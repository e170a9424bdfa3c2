"""DAC as descriptinc/descript-audio-codec and transformers publish it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ...layouts import dac_keys
from ...layouts.configs import check_round_trip, dac_rvq, one_number, the_quantizer
from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Unwrap, WeightNorm
from ...layouts.layout import Layout
from ...quantizers.residual_vq import ResidualVQConfig
from .model import DACConfig


def _dac(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `DAC`; a release file holds them beside its weights, as `metadata.kwargs`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    out = {
        "sample_rate_hz": f.take("sample_rate", 44100),
        "strides": f.take("encoder_rates", [2, 4, 8, 8]),
        "decoder_strides": f.take("decoder_rates", [8, 8, 4, 2]),
        "encoder_width": f.take("encoder_dim", 64),
        "decoder_width": f.take("decoder_dim", 1536),
        "latent_dim": f.take("latent_dim", None) or 0,
        "quantizer": dac_rvq(f),
    }
    f.done()
    return out


def _normal_dac(own: DACConfig) -> DACConfig:
    """`own` with the decoder's strides filled in and padding to whole frames, as the authors' class always does."""
    return dataclasses.replace(own, decoder_strides=own.ups, fill="frame")


def _say_dac(own: DACConfig) -> dict[str, Any]:
    """Keyword arguments of `DAC`."""
    q = the_quantizer(own.quantizer, ResidualVQConfig)
    widths = q.codebook_dim
    theirs = {
        "encoder_dim": own.encoder_width,
        "encoder_rates": list(own.strides),
        "latent_dim": own.latent_dim or None,
        "decoder_dim": own.decoder_width,
        "decoder_rates": list(own.ups),
        "n_codebooks": q.num_codebooks,
        "codebook_size": one_number("quantizer.codebook_size", q.codebook_size),
        "codebook_dim": widths if isinstance(widths, int) else list(widths),
        "quantizer_dropout": q.dropout,
        "sample_rate": own.sample_rate_hz,
    }
    return check_round_trip(_normal_dac(own), theirs, _dac)


def _dac_keys(own: DACConfig) -> KeyMap:
    rows = [*dac_keys.encoder(len(own.strides)), *dac_keys.QUANTIZER, *dac_keys.decoder(len(own.ups))]
    return KeyMap(Unwrap("state_dict"), WeightNorm(), Rename(rows), dac_keys.linear_projections())


# --- transformers -----------------------------------------------------------------------------------------------------


def _dac_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """`DacConfig` of transformers. A key of ours, `pad_to_samples`, is the multiple to which the feature extractor pads clips."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    strides, width = list(f.take("downsampling_ratios", [2, 4, 8, 8])), f.take("encoder_hidden_size", 64)
    # The class derives these, but values in a file take precedence, and two of them size layers.
    ups, dim = list(f.take("upsampling_ratios", strides[::-1])), f.take("hidden_size", width * 2 ** len(strides))
    f.drop("hop_length")  # the product of the rates; 512 in all published files, also in those whose product is 320
    out = {
        "sample_rate_hz": f.take("sampling_rate", 16000),
        "strides": strides,
        "decoder_strides": [] if ups == strides[::-1] else ups,
        "encoder_width": width,
        "decoder_width": f.take("decoder_hidden_size", 1536),
        "latent_dim": 0 if dim == width * 2 ** len(strides) else dim,
        "quantizer": dac_rvq(
            f,
            commitment_weight=f.take("commitment_loss_weight", 0.25),
            codebook_weight=f.take("codebook_loss_weight", 1.0),
        ),
        "fill": f.take("pad_to_samples", "none"),
    }
    f.done(swallowed=True)
    return out


def _normal_dac_hf(own: DACConfig) -> DACConfig:
    """`own` without the settings that the class of transformers derives, and with `fill` as a number of samples."""
    ups = () if own.ups == own.strides[::-1] else own.ups
    dim = 0 if own.dim == own.encoder_width * 2 ** len(own.strides) else own.dim
    fill = math.prod(own.strides) if own.fill == "frame" else own.fill
    return dataclasses.replace(own, decoder_strides=ups, latent_dim=dim, fill=fill)


def _say_dac_hf(own: DACConfig) -> dict[str, Any]:
    """`config.json` of `DacModel`, plus our key `pad_to_samples`, which transformers keeps without reading it."""
    q, normal = the_quantizer(own.quantizer, ResidualVQConfig), _normal_dac_hf(own)
    theirs = {
        "architectures": ["DacModel"],
        "model_type": "dac",
        "encoder_hidden_size": own.encoder_width,
        "downsampling_ratios": list(own.strides),
        "upsampling_ratios": list(own.ups),
        "hidden_size": own.dim,
        "hop_length": math.prod(own.strides),
        "decoder_hidden_size": own.decoder_width,
        "n_codebooks": q.num_codebooks,
        "codebook_size": one_number("quantizer.codebook_size", q.codebook_size),
        "codebook_dim": one_number("quantizer.codebook_dim", q.codebook_dim),
        "quantizer_dropout": q.dropout,
        "commitment_loss_weight": q.commitment_weight,
        "codebook_loss_weight": q.codebook_weight,
        "sampling_rate": own.sample_rate_hz,
    }
    theirs |= {} if normal.fill == "none" else {"pad_to_samples": normal.fill}
    return check_round_trip(normal, theirs, _dac_hf)


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
        authors_config=_say_dac,
    ),
    Layout(
        system="dac-hf",
        upstream="huggingface/transformers models/dac DacModel",
        family="dac",
        config=_dac_hf,
        keys=_hf_keys,
        authors_config=_say_dac_hf,
        model_type="dac",
    ),
)
