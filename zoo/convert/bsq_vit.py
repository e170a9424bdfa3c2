"""BSQ-ViT (zhaoyue-zephyrus/bsq-vit): constructor arguments of `VITBSQModel`, OpenCLIP-like keys."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, part, unwrap
from .base import Converter, rename
from .fields import Fields
from .vit import BLOCK_KEYS, under


def _vit(c: Fields) -> dict[str, Any]:
    c.require("num_frames", 1)  # pictures, not video
    c.require("act_layer", "gelu")
    c.require("norm_layer", "layer_norm")
    c.drop("cross_frames", "drop_rate", "attn_drop_rate", "drop_path_rate")  # video; dropout in training
    return {
        "width": c.take("width"),
        "layers": c.take("layers"),
        "heads": c.take("heads"),
        "mlp_ratio": c.take("mlp_ratio"),
        "layer_scale": c.take("ls_init_value", None),
        "norm_in": c.take("ln_pre", True),
        "mask": c.take("mask_type", "none") or "none",
        "mask_block": max(0, c.take("mask_block_size", -1)),
    }


def _quantizer(c: Fields, bits: int) -> dict[str, Any]:
    unit = c.take("post_q_l2_norm", False)
    entropy = c.one_of("persample_entropy_compute", {"analytical": "analytic", "group": "grouped"}, "group")
    inverse, gamma0 = c.take("inv_temperature", 1.0), c.take("gamma0", 1.0)
    if gamma0 == 0:
        raise ValueError("bsq-vit: gamma0 is 0; an entropy loss without its first term is not supported.")
    c.drop("cb_entropy_compute", "beta")  # never read; the base class of the authors' model sets beta back to 0.25
    return {
        # codes of length 1 are those of `bsq`; without post_q_l2_norm they are +-1, those of `lfq`
        "kind": "bsq" if unit else "lfq",
        "bits": bits,
        "bit_order": "msb",
        "entropy": entropy,
        "entropy_group_bits": c.take("embed_group_size", 9),
        "entropy_weight": c.take("zeta", 1.0) * gamma0 / inverse,
        "entropy_temperature": 1 / inverse,
        "diversity_gamma": c.take("gamma", 1.0) / gamma0,
        "commitment_weight": 0.25,
    } | ({"normalize": False} if unit else {})


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "bsq-vit")
    vit = part(c, "vitconfig")
    dvit = part(c, "dvitconfig") if config.get("dvitconfig") else Fields(config["vitconfig"], "bsq-vit.vitconfig")
    c.drop("dvitconfig", "ckpt_path", "ignore_keys", "grad_checkpointing", "selective_checkpointing")
    bits, size, patch = c.take("embed_dim"), vit.take("image_size"), vit.take("patch_size")
    if not isinstance(patch, int) or dvit.take("patch_size") != patch or dvit.take("image_size") != size:
        raise ValueError("bsq-vit: patch_size must be one number, and sizes the same for encoder and decoder.")
    head = dvit.take("dim_ffn_output", 3072) if dvit.take("use_ffn_output", True) else 0
    dvit.drop("dim_ffn_output", "logit_laplace")
    vit.drop("ln_post", "use_ffn_output", "dim_ffn_output", "logit_laplace")  # of the decoder, where they are shared
    out = {
        "image_size": [size, size] if isinstance(size, int) else list(size),
        "patch_size": patch,
        "encoder": _vit(vit),
        "decoder": {**_vit(dvit), "norm_out": dvit.take("ln_post", True)},
        "latent_dim": bits,
        "normalize": c.take("l2_norm", False),
        "quantizer": _quantizer(c, bits),
        "head_width": head,
        "logit_laplace": c.take("logit_laplace", False),
        "value_range": list(c.take("clamp_range", (0, 1))),
    }
    for fields in (vit, dvit, c):
        fields.done()
    return out


_TABLE = [
    *under(r"(encoder|decoder)\.transformer\.resblocks\.(\d+)\.", r"\1.blocks.\2.", BLOCK_KEYS),
    (r"encoder\.conv1\.(weight|bias)", r"patch_embed.\1"),
    (r"(encoder|decoder)\.positional_embedding", r"\1.positions"),
    (r"(encoder|decoder)\.ln_pre\.(weight|bias)", r"\1.norm_in.\2"),
    (r"(encoder|decoder)\.ln_post\.(weight|bias)", r"\1.norm_out.\2"),
    (r"quant_embed\.(weight|bias)", r"to_latent.\1"),
    (r"post_quant_embed\.(weight|bias)", r"from_latent.\1"),
    (r"decoder\.ffn\.0\.(weight|bias)", r"head.0.\1"),
    (r"decoder\.conv_out\.(weight|bias)", r"to_pixels.\1"),
]
_DROPPED = [r"quantize\.(basis|group_basis)"]  # powers of two


def _published(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict of a published file: averaged weights where it has them, without the wrappers' prefixes."""
    state = unwrap(state, "ema_state_dict", "state_dict")
    return {k.removeprefix("module.").removeprefix("module."): v for k, v in state.items()}


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    out = rename(_published(state), _TABLE, dropped=_DROPPED)
    p = config["vitconfig"]["patch_size"]
    out["patch_embed.weight"] = out["patch_embed.weight"].unflatten(1, (3, p, p))  # a linear map of (colour, row, column)
    return out


CONVERTERS = (
    Converter(
        system="bsq-vit",
        upstream="zhaoyue-zephyrus/bsq-vit VITBSQModel",
        family="bsq_vit",
        config=_config,
        weights=_weights,
    ),
)
