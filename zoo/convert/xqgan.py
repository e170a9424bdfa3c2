"""XQ-GAN / ImageFolder (lxa9867/ImageFolder) and RobusTok (qiuk2/RobusTok): fields of `ModelArgs`, timm's ViT keys."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, unwrap
from .base import Converter, rename
from .fields import Fields
from .vit import TIMM_BLOCK_KEYS, under

#: Widths, layers and heads of the DINOv2 sizes without registers.
_SIZES = {
    "vit_small_patch14_dinov2.lvd142m": (384, 12, 6),
    "vit_base_patch14_dinov2.lvd142m": (768, 12, 12),
    "vit_large_patch14_dinov2.lvd142m": (1024, 24, 16),
}

#: What only training reads; `encoder_ch_mult` and the like belong to the convolutional kinds.
_TRAINING = (
    "codebook_show_usage", "entropy_loss_ratio", "encoder_ch_mult", "decoder_ch_mult", "z_channels", "dropout_p",
    "codebook_drop", "semantic_guide", "detail_guide", "half_sem", "start_drop", "sem_loss_weight", "detail_loss_weight",
    "clip_norm", "sem_loss_scale", "detail_loss_scale", "guide_type_1", "guide_type_2", "soft_entropy",
    "dependency_loss_weight", "test_model",
)  # fmt: skip


def _config(config: Mapping[str, Any], system: str) -> dict[str, Any]:
    c = open_config(config, system)
    small = Fields(c.take("shrunk", {}), f"{system}.shrunk")
    for key in ("enc_type", "dec_type"):
        if c.take(key, "cnn") != "dinov2":
            raise ValueError(f"{system}.{key} is {config.get(key, 'cnn')!r}; only 'dinov2' has published models.")
    c.drop(*_TRAINING)

    def size(side: str) -> dict[str, int]:
        name = c.take(f"{side}_model", "vit_small_patch14_dinov2.lvd142m")
        own = small.take(f"{side}_vit", None)
        if own is not None:
            return {"width": own["embed_dim"], "layers": own["depth"], "heads": own["num_heads"]}
        if name not in _SIZES:
            raise ValueError(f"{system}.{side}_model is {name!r}; supported: {', '.join(_SIZES)}.")
        return dict(zip(("width", "layers", "heads"), _SIZES[name], strict=True))

    branches, tokens = c.take("product_quant", 1), c.take("num_latent_tokens", 256)
    grid = math.isqrt(tokens)
    if grid * grid != tokens:
        raise ValueError(f"{system}.num_latent_tokens is {tokens}; a branch's tokens must form a square.")
    sides = c.take("v_patch_nums", [1, 2, 3, 4, 5, 6, 8, 10, 13, 16])
    out = {
        "image_size": small.take("img_size", 256),
        "patch_size": small.take("patch_size", 16),
        "encoder": size("encoder"),
        "decoder": size("decoder"),
        "grid_size": grid,
        "branches": branches,
        "latent_dim": c.take("codebook_embed_dim", 8),
        "quantizer": _quantizer(c, sides),
        "shared_positions": c.take("abs_pos_embed", False),
    }
    small.done()
    c.done()
    return out


def _quantizer(c: Fields, sides: list[int]) -> dict[str, Any]:
    size, beta, unit = c.take("codebook_size", 16384), c.take("commit_loss_beta", 0.25), c.take("codebook_l2_norm", True)
    table = {"codebook_size": size, "commitment_weight": beta, "update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    shared = c.take("share_quant_resi", 4)
    bits, growth = c.take("lfq", False), c.take("scale", 1.0)
    if len(sides) == 1:
        if bits:
            raise ValueError(f"{c.name}: lfq needs several v_patch_nums; no single-scale model has been published.")
        return {"kind": "vq", "normalize": unit, "returns": "normalized" if unit else "raw", **table}
    if bits:
        return _signs(c, size, unit, growth, [[n, n] for n in sides], shared)
    # looked up by angle whatever codebook_l2_norm says: the authors do not hand it on
    scales = [[n, n] for n in sides]
    return {"kind": "multiscale_vq", "normalize": True, "scales": scales, "phi_count": shared, "phi_ratio": 0.5, **table}


def _signs(c: Fields, size: int, unit: bool, growth: float, scales: list[list[int]], shared: int) -> dict[str, Any]:
    """MSBR: signs in place of a table, over latents of length 1."""
    if not unit or growth != 1.0:
        raise ValueError(f"{c.name}: lfq is supported with codebook_l2_norm true and scale 1, as published.")
    return {
        "kind": "multiscale_bsq",
        "bits": size.bit_length() - 1,
        "bit_order": "lsb",
        "scales": scales,
        "upsample": "bicubic",
        "phi_ratio": 0.5,
        "phi_count": shared,
        "unit_input": True,
    }


_SIDE = r"(encoder|decoder)"
_END = r"(weight|bias)"
_TABLE = [
    *under(_SIDE + r"\.model\.blocks\.(\d+)\.", r"\1.blocks.\2.", TIMM_BLOCK_KEYS),
    (_SIDE + r"\.model\.cls_token", r"\1.class_token"),
    (_SIDE + r"\.model\.pos_embed", r"\1.positions"),
    (_SIDE + rf"\.model\.norm\.{_END}", r"\1.norm.\2"),
    (_SIDE + r"\.lvl_embed\.weight", r"\1.parts"),
    (_SIDE + r"\.latent_pos_embed", r"\1.latent_positions"),
    (rf"encoder\.model\.patch_embed\.proj\.{_END}", r"encoder.patch_embed.\1"),
    (r"encoder\.latent_tokens", "encoder.tokens"),
    (r"decoder\.mask_token", "decoder.mask_token"),
    (rf"decoder\.to_pixel\.model\.{_END}", r"decoder.to_pixels.proj.\1"),
    (rf"quant_conv\.{_END}", r"to_latent.\1"),
    (rf"post_quant_conv\.{_END}", r"from_latent.\1"),
    (r"quantize\.embedding\.weight", "quantizer.codebook.embed"),
    (rf"quantize\.quant_resi\.(?:qresi_ls\.)?(\d+)\.{_END}", r"quantizer.phis.\1.\2"),
    (rf"quantize\.quant_resi\.qresi\.{_END}", r"quantizer.phis.0.\1"),
    (r"quantizes\.(\d+)\.embedding\.weight", r"quantizer.branches.\1.codebook.embed"),
    (rf"quantizes\.(\d+)\.quant_resi\.(?:qresi_ls\.)?(\d+)\.{_END}", r"quantizer.branches.\1.phis.\2.\3"),
    (rf"quantizes\.(\d+)\.quant_resi\.qresi\.{_END}", r"quantizer.branches.\1.phis.0.\2"),
]
_DROPPED = [
    r"quantizes?\.(\d+\.)?scaler",  # lfq: the length of the codes
    r"(encoder|decoder)\.lvl1LC",  # which part of the sequence each token is in
    r"quantizes?\.(\d+\.)?ema_vocab_hit_SV",  # running usage of the codes
    r"(semantic|detail)_model\..*",  # frozen teachers
    r"sem_linear\..*",  # maps a teacher's features in training
]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    out = rename(unwrap(state, "ema", "model"), _TABLE, dropped=_DROPPED)
    for key in ("to_latent.weight", "from_latent.weight"):
        out[key] = out[key].flatten(1)  # 1x1 convolutions
    for key in list(out):
        if key.endswith((".class_token", ".positions", ".latent_positions", "encoder.tokens")):
            out[key] = out[key][0]
    out["decoder.mask_token"] = out["decoder.mask_token"][0, 0]
    out["decoder.to_pixels.proj.weight"] = out["decoder.to_pixels.proj.weight"][:, :, None, None]  # a linear map
    return out


CONVERTERS = tuple(
    Converter(
        system=system,
        upstream=f"{repository} tokenizer/tokenizer_image/xqgan_model.py VQModel",
        family="xqgan",
        config=lambda config, system=system: _config(config, system),
        weights=_weights,
    )
    for system, repository in (("imagefolder", "lxa9867/ImageFolder"), ("robustok", "qiuk2/RobusTok"))
)
