"""XQ-GAN, ImageFolder and RobustTok (lxa9867/ImageFolder @ 76ddfb9a65): fields of `ModelArgs`, timm's ViT keys."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch

from ....layouts.configs import open_config
from ....layouts.fields import Fields
from ....layouts.keymap import KeyMap, Rename, Row, State, Then, Unwrap, as_convolution, pointwise, under, without_ones
from ....layouts.layout import Layout
from ....layouts.vit_keys import TIMM_BLOCK
from ....layouts.vqgan_keys import phis
from ....quantizers.multiscale_bsq import MultiScaleBSQConfig
from ....serialize import CheckpointError
from ..model import XQGANConfig

#: Widths, layers and heads of the DINOv2 sizes without registers.
_SIZES = {
    "vit_small_patch14_dinov2.lvd142m": (384, 12, 6),
    "vit_base_patch14_dinov2.lvd142m": (768, 12, 12),
    "vit_large_patch14_dinov2.lvd142m": (1024, 24, 16),
}

#: Options of training alone; `encoder_ch_mult` and the like are for the convolutional variants.
_TRAINING = (
    "codebook_show_usage", "entropy_loss_ratio", "encoder_ch_mult", "decoder_ch_mult", "z_channels", "dropout_p",
    "codebook_drop", "semantic_guide", "detail_guide", "half_sem", "start_drop", "sem_loss_weight", "detail_loss_weight",
    "clip_norm", "sem_loss_scale", "detail_loss_scale", "guide_type_1", "guide_type_2", "soft_entropy",
    "dependency_loss_weight", "test_model",
)  # fmt: skip


def _config(system: str, config: Mapping[str, Any]) -> dict[str, Any]:
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
    sides, dim = c.take("v_patch_nums", [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]), c.take("codebook_embed_dim", 8)
    out = {
        "image_size": small.take("img_size", 256),
        "patch_size": small.take("patch_size", 16),
        "encoder": size("encoder"),
        "decoder": size("decoder"),
        "grid_size": grid,
        "branches": branches,
        "latent_dim": dim,
        "quantizer": _quantizer(c, sides, dim),
        "shared_positions": c.take("abs_pos_embed", False),
    }
    small.done()
    c.done()
    return out


def _quantizer(c: Fields, sides: list[int], dim: int) -> dict[str, Any]:
    size, beta, unit = c.take("codebook_size", 16384), c.take("commit_loss_beta", 0.25), c.take("codebook_l2_norm", True)
    table = {"codebook_size": size, "commitment_weight": beta, "update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    shared = c.take("share_quant_resi", 4)
    signs, growth = c.take("lfq", False), float(c.take("scale", 1.0))
    if len(sides) == 1:  # a table, whatever lfq is
        return {"kind": "vq", "normalize": unit, "returns": "normalized" if unit else "raw", **table}
    scales = {"scales": [[n, n] for n in sides], "phi_count": shared, "phi_ratio": 0.5}
    if not signs:
        # cosine lookup whatever codebook_l2_norm is: the authors' class does not pass it on
        return {"kind": "multiscale_vq", "normalize": True, **scales, **table}
    if size != 2**dim:
        raise ValueError(f"{c.name}: with lfq, codebook_size must be 2^codebook_embed_dim = {2**dim}; it is {size}.")
    # MSBR: signs instead of a table, over latents normalised or not
    own = {"kind": "multiscale_bsq", "bits": dim, "bit_order": "lsb", "upsample": "bicubic", "growth": growth}
    return {**own, "unit_input": unit, "normalize": unit, "code_value": 0.0 if unit else 1.0, **scales}


_ROWS: list[Row] = [
    *under("{encoder|decoder}.model.blocks.{}.", "{encoder|decoder}.blocks.{}.", TIMM_BLOCK),
    ("{encoder|decoder}.model.cls_token", "{encoder|decoder}.class_token"),
    ("{encoder|decoder}.model.pos_embed", "{encoder|decoder}.positions"),
    ("{encoder|decoder}.model.norm.*", "{encoder|decoder}.norm.*"),
    ("{encoder|decoder}.lvl_embed.weight", "{encoder|decoder}.parts"),
    ("{encoder|decoder}.latent_pos_embed", "{encoder|decoder}.latent_positions"),
    ("encoder.model.patch_embed.proj.*", "encoder.patch_embed.*"),
    ("encoder.latent_tokens", "encoder.tokens"),
    ("decoder.mask_token", "decoder.mask_token"),
    ("decoder.to_pixel.model.*", "decoder.to_pixels.proj.*"),
    ("quant_conv.*", "to_latent.*"),
    ("post_quant_conv.*", "from_latent.*"),
    ("quantize.embedding.weight", "quantizer.codebook.embed"),
    ("quantizes.{}.embedding.weight", "quantizer.branches.{}.codebook.embed"),
]
_DROPPED = (
    "quantize.ema_vocab_hit_SV",  # running usage of the codes
    "quantizes.{}.ema_vocab_hit_SV",
    "{encoder|decoder}.lvl1LC",  # the part of the sequence of each token
    "{semantic_model|detail_model}.**",  # frozen teachers
    "sem_linear.*",  # maps a teacher's features in training
)


def _sizes_of_codes(own: XQGANConfig) -> Then:
    """Drop the length of every scale's codes, stored with lfq; CheckpointError if it differs from the config's."""
    q = own.quantizer

    def read(state: State) -> State:
        out = dict(state)
        for key in [k for k in state if k.endswith(".scaler")]:
            found = out.pop(key).float()
            if not isinstance(q, MultiScaleBSQConfig):
                raise CheckpointError(f"{key!r} belongs to sign codes, but the config specifies a table (lfq is false).")
            first = q.code_value or q.bits**-0.5
            want = torch.tensor([first * q.growth**i for i in range(len(q.scales))])
            if found.shape != want.shape or not torch.allclose(found, want, rtol=1e-4):
                raise CheckpointError(f"{key!r} is {found.tolist()}; the config's `scale` and `codebook_l2_norm` give {want.tolist()}.")
        return out

    return Then(read, lambda state: state)


def _keys(own: XQGANConfig) -> KeyMap:
    """The key map; EMA weights are preferred to raw ones, as in the authors' scripts (`ema`, then `model`, then `state_dict`)."""
    count = getattr(own.quantizer, "phi_count", 0)
    rows = [
        *_ROWS,
        *phis("quantize.quant_resi", "quantizer.phis", count),
        *phis("quantizes.{}.quant_resi", "quantizer.branches.{}.phis", count),
    ]
    return KeyMap(
        Unwrap("ema", "model", "state_dict"),
        _sizes_of_codes(own),
        Rename(rows, also_drop=_DROPPED),
        pointwise("{to_latent|from_latent}.weight", axes=2),
        without_ones("{encoder|decoder}.{class_token|positions|latent_positions|tokens}"),
        without_ones("decoder.mask_token", axes=2),
        as_convolution("decoder.to_pixels.proj.weight"),  # a linear map
    )


def layout(system: str, repository: str) -> Layout:
    """The layout `system` of one of the repositories that share this class."""
    return Layout(
        system=system,
        upstream=f"{repository} tokenizer/tokenizer_image/xqgan_model.py VQModel",
        family="xqgan",
        config=functools.partial(_config, system),
        keys=_keys,
    )


LAYOUTS = (layout("imagefolder", "lxa9867/ImageFolder"),)
