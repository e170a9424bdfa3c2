"""BSQ-ViT (zhaoyue-zephyrus/bsq-vit): constructor arguments of `VITBSQModel`, OpenCLIP-like keys."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config
from ...layouts.fields import Fields
from ...layouts.keymap import Each, KeyMap, Rename, Row, State, Then, Unwrap, under
from ...layouts.layout import Layout
from ...layouts.vit_keys import BLOCK
from .model import BSQViTConfig


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
    c.drop("cb_entropy_compute", "beta")  # unused; the base class of the authors' model sets beta back to 0.25
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
    data = config.get("data")
    centred = isinstance(data, Mapping) and data.get("zero_mean", False)  # in the YAML of a training: their script sets the range by it
    sides = c.take("vitconfig"), c.take("dvitconfig", None)
    vit = Fields(sides[0], "bsq-vit.vitconfig")
    dvit = Fields(sides[1], "bsq-vit.dvitconfig") if sides[1] else Fields(sides[0], "bsq-vit.vitconfig")
    c.drop("ckpt_path", "ignore_keys", "grad_checkpointing", "selective_checkpointing")
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
        "value_range": list(c.take("clamp_range", (-1, 1) if centred else (0, 1))),
    }
    for fields in (vit, dvit, c):
        fields.done()
    return out


_SIDE = "{encoder|decoder}"
_ROWS: tuple[Row, ...] = (
    *under(_SIDE + ".transformer.resblocks.{}.", _SIDE + ".blocks.{}.", BLOCK),
    ("encoder.conv1.*", "patch_embed.*"),
    (_SIDE + ".positional_embedding", _SIDE + ".positions"),
    (_SIDE + ".ln_pre.*", _SIDE + ".norm_in.*"),
    (_SIDE + ".ln_post.*", _SIDE + ".norm_out.*"),
    ("quant_embed.*", "to_latent.*"),
    ("post_quant_embed.*", "from_latent.*"),
    ("decoder.ffn.0.*", "head.0.*"),
    ("decoder.conv_out.*", "to_pixels.*"),
    ("quantize.{basis|group_basis}", None),  # powers of two
)


def _without_wrappers(state: State) -> State:
    """Remove up to two `module.` prefixes: of the wrapper for several GPUs, and of the EMA wrapper around it."""
    return {k.removeprefix("module.").removeprefix("module."): v for k, v in state.items()}


def _keys(own: BSQViTConfig) -> KeyMap:
    p = own.patch_size
    return KeyMap(
        Unwrap("ema_state_dict", "state_dict"),
        Then(_without_wrappers, lambda state: state),
        Rename(_ROWS),
        # a linear map of (colour, row, column)
        Each(("patch_embed.weight",), lambda v: v.unflatten(1, (3, p, p)), lambda v: v.flatten(1)),
    )


LAYOUTS = (
    Layout(
        system="bsq-vit",
        upstream="zhaoyue-zephyrus/bsq-vit transcoder/models/bsqvit.py VITBSQModel",
        family="bsq_vit",
        config=_config,
        keys=_keys,
    ),
)
