"""ImageFolder and XQ-GAN; RobusTok has the same class, see `robustok.py`. A published file is a whole training checkpoint."""

from typing import Any

import torch
from image_cases import lively
from layout_options import DROP, Sweep

_VIT = {"embed_dim": 16, "depth": 1, "num_heads": 2}

TINY: dict[str, Any] = {
    "enc_type": "dinov2", "dec_type": "dinov2", "codebook_embed_dim": 4, "codebook_size": 16, "abs_pos_embed": True, "product_quant": 1,
    "encoder_model": "vit_base_patch14_dinov2.lvd142m", "decoder_model": "vit_base_patch14_dinov2.lvd142m", "num_latent_tokens": 4,
    "v_patch_nums": [2],
    "shrunk": {"img_size": 8, "patch_size": 4, "encoder_vit": _VIT, "decoder_vit": _VIT},
}  # fmt: skip
_SCALES = {"v_patch_nums": [1, 1, 2]}
_SIGNS = {**_SCALES, "lfq": True, "soft_entropy": True, "entropy_loss_ratio": 0.1}
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "two branches": {"product_quant": 2},
    "a table without norm": {"codebook_l2_norm": False},
    "scales": _SCALES,
    "scales in two branches": {**_SCALES, "product_quant": 2},
    "a convolution a scale": {**_SCALES, "share_quant_resi": 0},
    "one convolution": {**_SCALES, "share_quant_resi": 1},
    "scales by default": {"v_patch_nums": DROP, "num_latent_tokens": 256},
    "signs": {**_SIGNS, "codebook_l2_norm": True, "scale": 1.0},
    "signs in two branches": {**_SIGNS, "product_quant": 2},
    "signs without norm": {**_SIGNS, "codebook_l2_norm": False},
    "signs that shrink": {**_SIGNS, "codebook_l2_norm": False, "scale": 0.5},
    "signs of length 1 that shrink": {**_SIGNS, "scale": 0.5},
    "signs that grow": {**_SIGNS, "scale": 2},
    "signs at one scale are a table": {"lfq": True},
    "positions of their own": {"abs_pos_embed": False},
    "a larger grid than the patches'": {"num_latent_tokens": 9, "v_patch_nums": [3]},
    "three branches": {"product_quant": 3},
    "the teacher's options": {
        "semantic_guide": "none", "detail_guide": "none", "half_sem": True, "start_drop": 3, "codebook_drop": 0.1, "clip_norm": True,
        "sem_loss_weight": 0.1, "guide_type_1": "class", "commit_loss_beta": 0.25,
    },
}  # fmt: skip
REFUSED = {
    "a misspelt key": ({"codebook_sizes": 16}, "codebook_size"),
    "convolutions": ({"enc_type": "cnn"}, "enc_type"),
    "no square": ({"num_latent_tokens": 5}, "square"),
    "signs that the table does not fit": ({**_SIGNS, "codebook_size": 15}, "codebook_size must be"),
    "signs of no size": ({**_SIGNS, "scale": 0.0}, "positive size"),
}


def published(state: dict) -> dict:
    """What the authors' training saves, frozen teachers and all; averaged weights differ from the raw ones."""
    state = lively(state)
    teachers = {"semantic_model.blocks.0.norm1.weight": torch.ones(4), "detail_model.cls_token": torch.ones(1, 1, 4)}
    sides = {f"{side}.lvl1LC": torch.zeros(1, 9, dtype=torch.int64) for side in ("encoder", "decoder")}
    used = {k.replace("embedding.weight", "ema_vocab_hit_SV"): torch.zeros(16) for k in state if k.endswith("embedding.weight")}
    average = {**state, **teachers, **sides, **used, "sem_linear.weight": torch.ones(2, 2, 1, 1), "sem_linear.bias": torch.ones(2)}
    return {
        "model": lively(average, seed=1),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []},
        "discriminator": {"heads.0.weight": torch.ones(2, 2)},
        "optimizer_disc": {"state": {}},
        "steps": 250000,
        "ema": average,
    }


SWEEPS = {"imagefolder": Sweep(tiny=TINY, options=OPTIONS, refused=REFUSED, published=published)}
