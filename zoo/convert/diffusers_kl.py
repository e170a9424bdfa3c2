"""diffusers' AutoencoderKL (huggingface/diffusers @ 58eb52c080, Apache-2.0): its config.json and key names.

It has no tokens of its own. Here every channel of its scaled latents is cut into levels after training (TokenBridge, arXiv
2503.16430); `zoo/quantize.py` fits their ranges to media. Until then they are TokenBridge's, -5 to 5.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .authors import open_config
from .base import Converter
from .diffusers_vq import HUB_KEYS, rename_stacks, take_stacks

_SYSTEM = "diffusers-autoencoderkl"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    c.drop(*HUB_KEYS, "use_quant_conv", "use_post_quant_conv")  # without them: the identity, see below
    for key in ("latents_mean", "latents_std"):  # only of some video models' pipelines
        c.require(key, None)
    out = take_stacks(c)
    quantizer = {"kind": "dimension_wise", "levels": 64, "low": -5.0, "high": 5.0, "sigmas": 3.0}
    scale, shift = c.take("scaling_factor", 0.18215), c.take("shift_factor", None) or 0.0
    own = {"latent_dim": c.take("latent_channels", 4), "latent_scale": scale, "latent_shift": shift, "quantizer": quantizer}
    c.done()
    return {**out, **own}


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    table = [(r"quant_conv\.(weight|bias)", r"to_posterior.\1"), (r"post_quant_conv\.(weight|bias)", r"from_latent.\1")]
    out = rename_stacks(state, config, table)
    dim = config.get("latent_channels", 4)
    for flag, name, width in (("use_quant_conv", "to_posterior", 2 * dim), ("use_post_quant_conv", "from_latent", dim)):
        if not config.get(flag, True):
            out |= {f"{name}.weight": torch.eye(width)[..., None, None], f"{name}.bias": torch.zeros(width)}
    for name, value in (("low", -5.0), ("high", 5.0)):
        out[f"quantizer.{name}"] = torch.full((dim, 1), value)
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system=_SYSTEM,
        upstream="huggingface/diffusers src/diffusers/models/autoencoders/autoencoder_kl.py AutoencoderKL",
        family="kl_tokens",
        config=_config,
        weights=_weights,
    ),
)
