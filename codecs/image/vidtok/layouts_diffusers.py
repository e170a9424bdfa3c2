"""VidTok in diffusers: `AutoencoderVidTok` of release 0.42.1 with finite scalar codes. Its keys are those of the authors' files.

Its causal class is the authors' version 1.1 with interpolation. Clips of 1 + k `time_factor` frames have the ids and the frames of its
`forward`, and its `encode` takes whole steps as they are.

Differs: clips of other lengths repeat their first frame here, as in the authors' program, and their last one in diffusers.
"""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import check_round_trip, open_config, the_quantizer
from ...layouts.diffusers_keys import HUB_KEYS
from ...layouts.keymap import NotWritable
from ...layouts.layout import Layout
from ...quantizers.fsq import FSQConfig
from .layouts import keys
from .model import VidTokConfig

_SYSTEM = "diffusers-autoencodervidtok"
#: Levels of each channel, which the class fixes.
_LEVELS = 8


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    c.drop(*HUB_KEYS)
    for key, value, default in (("in_channels", 3, 3), ("out_channels", 3, 3), ("regularizer", "fsq", "kl"), ("double_z", False, True)):
        c.require(key, value, default)
    width, mult = c.take("ch", 128), list(c.take("ch_mult", (1, 2, 4, 4)))
    last = len(mult) - 1
    for key, levels in (("spatial_ds", list(range(last))), ("spatial_us", list(range(1, last + 1)))):
        found = c.take(key, None)
        if found is not None and sorted(found) != levels:
            raise ValueError(f"{c.name}.{key} is {list(found)}; supported are {levels}, every change of level.")
    down, up = c.take("tempo_ds", None), c.take("tempo_us", None)
    dim, size = c.take("z_channels", 4), c.take("codebook_size", _LEVELS**6)
    if not _LEVELS**dim <= size < _LEVELS ** (dim + 1):
        raise ValueError(f"{c.name}.codebook_size is {size}; with z_channels {dim} it is {_LEVELS}^{dim} = {_LEVELS**dim}.")
    causal = c.take("is_causal", True)
    networks = {
        "widths": [width * m for m in mult],
        "stem_width": width,
        "blocks": c.take("num_res_blocks", 2),
        "latent_dim": dim,
        "time_down": sorted([last - 1, last - 2] if down is None else down),
        "time_up": sorted([1, 2] if up is None else up),
        "kind": "causal_v1_1" if causal else "noncausal",
        "interpolate": causal,
        "dropout": float(c.take("dropout", 0.0)),
    }
    c.done(swallowed=True)
    return {"networks": networks, "quantizer": {"kind": "fsq", "levels": [_LEVELS] * dim}}


def _back(own: VidTokConfig) -> dict[str, Any]:
    """`config.json` of an AutoencoderVidTok with this network."""
    s, levels = own.networks, the_quantizer(own.quantizer, FSQConfig).levels
    if s.kind == "causal" or s.interpolate != (s.kind == "causal_v1_1"):
        raise NotWritable(f"diffusers' AutoencoderVidTok is version 1.1 with interpolation, or not causal; this one is {s.kind!r}.")
    if set(levels) != {_LEVELS} or any(w % s.stem_width for w in s.widths):
        raise NotWritable(
            f"diffusers' AutoencoderVidTok has levels of {_LEVELS} and multiples of one width, not {levels} and {s.widths}."
        )
    out = {
        "_class_name": "AutoencoderVidTok",
        "in_channels": 3,
        "out_channels": 3,
        "ch": s.stem_width,
        "ch_mult": [w // s.stem_width for w in s.widths],
        "z_channels": s.latent_dim,
        "double_z": False,
        "num_res_blocks": s.blocks,
        "tempo_ds": list(s.time_down),
        "tempo_us": list(s.time_up),
        "dropout": s.dropout,
        "regularizer": "fsq",
        "codebook_size": _LEVELS**s.latent_dim,
        "is_causal": s.kind != "noncausal",
    }
    return check_round_trip(own, out, _config)


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="huggingface/diffusers src/diffusers/models/autoencoders/autoencoder_vidtok.py AutoencoderVidTok",
        family="vidtok",
        config=_config,
        keys=keys,
        authors_config=_back,
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        class_name="AutoencoderVidTok",
    ),
)
