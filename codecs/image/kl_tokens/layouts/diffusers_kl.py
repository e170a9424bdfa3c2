"""diffusers' AutoencoderKL (huggingface/diffusers @ 58eb52c080, Apache-2.0): its config.json and key names.

The autoencoder has continuous latents. Here every channel of the scaled latents is quantized to levels after training (TokenBridge,
arXiv 2503.16430); `zoo/quantize.py` fits their ranges to media. Until then they are TokenBridge's, -5 to 5.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from ....layouts.configs import open_config
from ....layouts.diffusers_keys import HUB_KEYS, stack_steps, take_stacks
from ....layouts.keymap import KeyMap, Row, State, Then
from ....layouts.layout import Layout
from ....quantizers.dimension_wise import DimensionWiseConfig
from ..model import KLTokensConfig

_SYSTEM = "diffusers-autoencoderkl"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    c.drop(*HUB_KEYS)
    for key in ("latents_mean", "latents_std"):  # used by some video models' pipelines only
        c.require(key, None)
    out = take_stacks(c)
    quantizer = {"kind": "dimension_wise", "levels": 64, "low": -5.0, "high": 5.0, "sigmas": 3.0}
    scale, shift = c.take("scaling_factor", 0.18215), c.take("shift_factor", None) or 0.0
    maps = {"posterior_map": c.take("use_quant_conv", True), "latent_map": c.take("use_post_quant_conv", True)}
    own = {"latent_dim": c.take("latent_channels", 4), "latent_scale": scale, "latent_shift": shift, "quantizer": quantizer}
    c.done(swallowed=True)
    return {**out, **own, **maps}


_BETWEEN: list[Row] = [("quant_conv.*", "to_posterior.*"), ("post_quant_conv.*", "from_latent.*")]


class NotFitted(UserWarning):
    """Warning: the autoencoder was published without a quantizer, and the levels of its channels are not fitted to media."""


def _keys(own: KLTokensConfig) -> KeyMap:
    dim = own.latent_dim

    def read(state: State) -> State:
        assert isinstance(own.quantizer, DimensionWiseConfig)
        warnings.warn(
            "this autoencoder has no quantizer, and its levels here are not fitted: every channel is quantized to "
            f"{own.quantizer.levels} levels from -5 to 5. Fit them to pictures: "
            "tokenzoo quantize NAME PICTURES --out FOLDER",
            NotFitted,
            stacklevel=2,
        )
        out = dict(state)
        for name, value in (("low", -5.0), ("high", 5.0)):
            out[f"quantizer.{name}"] = torch.full((dim, 1), value)
        return out

    def write(state: State) -> State:
        return {k: v for k, v in state.items() if not k.startswith("quantizer.")}

    return KeyMap(*stack_steps(own.encoder, own.decoder, _BETWEEN), Then(read, write))


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="huggingface/diffusers src/diffusers/models/autoencoders/autoencoder_kl.py AutoencoderKL",
        family="kl_tokens",
        config=_config,
        keys=_keys,
        class_name="AutoencoderKL",
    ),
)
