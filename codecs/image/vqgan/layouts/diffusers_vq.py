"""diffusers' VQModel (huggingface/diffusers @ 58eb52c080, Apache-2.0): aMUSEd, Kandinsky's MoVQ, LDM's VQ autoencoders.

Its `encode` gives latents before quantization and its `decode` quantizes; here `encode` gives ids.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from ....layouts.configs import check_round_trip, legacy_vq, open_config, the_quantizer
from ....layouts.diffusers_keys import HUB_KEYS, stack_steps, take_stacks, written_stacks
from ....layouts.keymap import KeyMap, Row
from ....layouts.layout import Layout
from ....quantizers.vq import VQConfig
from ..model import VQGANConfig

_SYSTEM = "diffusers-vqmodel"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config.json` of a VQModel. A key of ours, `value_range`, is the range of its pipeline's pixels, if that is not -1..1."""
    c = open_config(config, _SYSTEM)
    c.drop(*HUB_KEYS, "scaling_factor")  # keys of diffusion models
    if c.take("lookup_from_codebook", False) and "value_range" not in config:  # in aMUSEd's config only, without effect on ids
        warnings.warn(
            "this config looks like aMUSEd's, whose pipeline takes pixels in 0..1, which the config does not state; -1..1 is assumed. "
            "Load it by the name of its card (amused-256, amused-512), or its ids are wrong.",
            stacklevel=2,
        )
    stacks = take_stacks(c)
    spatial = c.one_of("norm_type", {"group": False, "spatial": True}, "group")
    z = c.take("latent_channels", 3)
    dim = c.take("vq_embed_dim", None) or c.take("e_dim", None) or z  # the second is its name in 2022
    if spatial and dim != z:
        raise ValueError(f"{_SYSTEM}: norm_type 'spatial' needs vq_embed_dim ({dim}) equal to latent_channels ({z}).")
    if spatial:
        stacks["decoder"] |= {"condition": "spatial", "groups": 32}  # fixed in its spatial norm
    quantizer = legacy_vq(c.take("num_vq_embeddings", 256), 0.25)
    out = {**stacks, "z_channels": z, "embed_dim": dim, "quantizer": quantizer, "value_range": c.take("value_range", [-1.0, 1.0])}
    c.done(swallowed=True)
    return out


def _back(own: VQGANConfig) -> dict[str, Any]:
    """`config.json` of a VQModel with this network."""
    if own.decoder is None:
        raise ValueError("diffusers' VQModel has a decoder, which this tokenizer lacks.")
    own_range = {} if own.value_range == (-1.0, 1.0) else {"value_range": list(own.value_range)}
    out = {
        "_class_name": "VQModel",
        **written_stacks(own.encoder, own.decoder),
        "norm_type": "spatial" if own.decoder.condition == "spatial" else "group",
        "latent_channels": own.z_channels,
        "vq_embed_dim": own.embed_dim,
        "num_vq_embeddings": the_quantizer(own.quantizer, VQConfig).codebook_size,
        **own_range,
    }
    return check_round_trip(own, out, _config)


_BETWEEN: list[Row] = [
    ("quant_conv.*", "to_code.*"),
    ("post_quant_conv.*", "from_code.*"),
    ("quantize.embedding.weight", "quantizer.codebook.embed"),
]

LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="huggingface/diffusers src/diffusers/models/autoencoders/vq_model.py VQModel",
        family="vqgan",
        config=_config,
        keys=lambda own: KeyMap(*stack_steps(own.encoder, own.decoder, _BETWEEN)),
        authors_config=_back,
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        class_name="VQModel",
    ),
)
