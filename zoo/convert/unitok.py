"""UniTok (FoundationVision/UniTok @ bb8012e8e8, models/unitok.py): the whole tokenizer, and its codes alone.

`unitok_tokenizer.pth` holds the settings under `args` and the weights under `trainer`, `unitok`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...codecs.serialize import CheckpointError
from .attention_projection import KEY_BIAS, projection_keys
from .authors import open_config, training_only, unwrap
from .base import Converter, rename
from .fields import Fields

#: ViTamin's sizes by the authors' names.
_TOWERS = {
    "vitamin_base": {"stem_width": 128, "conv_widths": [128, 256], "width": 768, "layers": 14, "heads": 12},
    "vitamin_large": {"stem_width": 160, "conv_widths": [160, 320], "width": 1024, "layers": 31, "heads": 16},
}

#: The rest of the authors' `Args`: training, data, evaluation, the text tower.
_ARGS = (
    "exp_name", "output_dir", "resume_from", "lpips_path", "dino_path", "fid_eval_src", "fid_eval_dst", "vis_img_dir",
    "fid_feature_extractor", "clip_pretrain_path", "fp16", "bf16", "tf32", "compile_model", "ddp_static", "grad_ckpt", "grad_accu",
    "device", "dtype", "train_data", "val_data", "dataset_type", "imagenet_val", "imagenet_v2", "subset_ratio", "resize_ratio",
    "hflip", "workers", "train_num_samples", "train_data_upsampling_factors", "dataset_resampled", "use_aug", "vocab_norm",
    "use_clip_pretrain", "patch_size", "text_width", "text_heads", "text_layers", "text_vocab_size", "text_context_length",
    "local_loss", "gather_with_grad", "pretrained_clip", "pretrained_clip_text", "lock_text", "lock_text_unlocked_layers",
    "lock_text_freeze_layer_norm", "force_custom_text", "force_custom_vision", "zeroshot_eval_freq", "dino_depth",
    "dino_kernel_size", "disc_norm", "disc_aug_prob", "disc_specnorm", "step_disc_every", "vae_init", "vocab_init", "disc_init",
    "epoch", "local_bs", "vae_local_bs", "global_bs", "lr", "wd", "disc_lr", "disc_wd", "grad_clip", "ema", "warmup_iter",
    "warmup_ep", "disc_start_ep", "disc_warmup_ep", "schedule", "lr_start_ratio", "lr_end_ratio", "disc_lr_end_ratio",
    "custom_lr_multiplier", "optimizer", "optim_eps", "fuse_opt", "optim_beta", "disc_optim_beta", "l1", "l2", "lp", "lpr", "ld",
    "lq", "lc", "gada", "bcr", "bcr_cut", "dcrit", "report_wandb", "wandb_notes", "run_id", "eval_per_epoch", "dbg_unused_param",
    "dbg_nan", "seed", "deterministic", "same_seed_for_all_ranks",
)  # fmt: skip


def _codes(c: Fields, width: int) -> dict[str, Any]:
    count, size, code_dim = c.take("num_codebooks", 8), c.take("vocab_size", 32768), c.take("vocab_width", 64)
    if size % count or code_dim % count:
        raise ValueError(f"{c.name}: vocab_size {size} and vocab_width {code_dim} must divide into {count} codebooks.")
    c.take("e_temp", 0.01)  # of the entropy term
    training_only(c, "le", 0.0)
    return {
        "width": width,
        "code_dim": code_dim,
        "projection": c.one_of("quant_proj", {"attn": "attention", "linear": "linear"}, "attn"),
        "quantizer": {
            "kind": "grouped_vq",
            "groups": count,
            "levels": 1,
            "codebook_size": size // count,
            "normalize": True,
            "returns": "normalized",
            "update": "gradient",
            "kmeans_init": False,
            "replace_below": 0.0,
            "commitment_weight": float(c.take("vq_beta", 0.25)),
            "codebook_weight": 1.0,
        },
    }


def _codes_config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "unitok-quantizer")
    out = _codes(c, c.take("embed_dim"))  # here the tower's width
    c.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = Fields(config.get("args", config), "unitok")
    c.drop("source", "versions", "notes", *_ARGS)
    tower = dict(c.one_of("model", _TOWERS, "vitamin_large"))
    tower |= c.take("vitamin", {})  # of reference folders, whose towers are smaller
    tower |= {"queries": c.take("num_query", 0), "drop_path": float(c.take("drop_path", 0.1))}
    out = {
        "image_size": c.take("img_size", 256),
        "tower": tower,
        "codes": _codes(c, tower["width"]),
        "embedding_dim": c.take("embed_dim", 768),
    }
    c.done()
    return out


_END = r"(weight|bias)"
_CODES_TABLE = [
    *projection_keys("quant_proj", "to_code"),
    *projection_keys("post_quant_proj", "from_code"),
    (r"quant_proj\." + _END, r"to_code.\1"),
    (r"post_quant_proj\." + _END, r"from_code.\1"),
    (r"quantizer\.codebooks\.(\d+)\.codebook\.weight", r"quantizer.stacks.\1.levels.0.codebook.embed"),
]
_CODES_DROPPED = (KEY_BIAS, r"quantizer\.codebooks\.\d+\.vocab_usage")  # how often codes were used lately


def mbconv_keys(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Convolution blocks in timm's spelling; `theirs` is an expression with one group, `ours` says `\\1`."""
    names = {
        "pre_norm": "norm",
        r"conv1_1x1": "expand",
        r"conv2_kxk": "depthwise",
        r"conv3_1x1": "project",
        r"up\.conv": "up",
        r"shortcut\.expand": "shortcut.expand",
        r"shortcut(?:\.conv)?": "shortcut",
    }
    return [(rf"{theirs}\.{old}\.{_END}", rf"{ours}.{new}.\2") for old, new in names.items()]


def gated_block_keys(theirs: str, ours: str) -> list[tuple[str, str]]:
    """ViT blocks with gated MLPs in timm's spelling; as in `mbconv_keys`."""
    names = {
        "norm1": "attention_norm",
        "norm2": "mlp_norm",
        r"attn\.qkv": "attention.qkv",
        r"attn\.proj": "attention.out",
        r"mlp\.norm": "gated.norm",
        r"mlp\.w0": "gated.gate",
        r"mlp\.w1": "gated.up",
        r"mlp\.w2": "gated.down",
    }
    return [(rf"{theirs}\.{old}\.{_END}", rf"{ours}.{new}.\2") for old, new in names.items()]


_BACKBONE = r"encoder\.patch_embed\.backbone\."
ENCODER_TABLE = [
    (_BACKBONE + r"stem\.conv1\." + _END, r"encoder.stem.0.\1"),
    (_BACKBONE + r"stem\.norm1\." + _END, r"encoder.stem.1.\1"),
    (_BACKBONE + r"stem\.conv2\." + _END, r"encoder.stem.3.\1"),
    *mbconv_keys(_BACKBONE + r"stages\.0\.(\d+)", r"encoder.stages.0.\1"),
    *mbconv_keys(_BACKBONE + r"stages\.1\.(\d+)", r"encoder.stages.1.\1"),
    (_BACKBONE + r"pool\.norm\." + _END, r"encoder.patch_norm.\1"),
    (_BACKBONE + r"pool\.proj\." + _END, r"encoder.patches.\1"),
    (r"encoder\.reg_token", "encoder.queries"),
    *gated_block_keys(r"encoder\.blocks\.(\d+)", r"encoder.blocks.\1"),
    (r"encoder\.norm\." + _END, r"encoder.norm_out.\1"),
]
_TABLE = [
    *ENCODER_TABLE,
    *gated_block_keys(r"decoder\.blocks\.(\d+)", r"decoder.blocks.\1"),
    (r"decoder\.norm\." + _END, r"decoder.norm_out.\1"),
    (r"decoder\.up_conv1\.conv\." + _END, r"decoder.up.\1"),
    *mbconv_keys(r"decoder\.up_conv2\.(\d+)", r"decoder.stages.0.\1"),
    *mbconv_keys(r"decoder\.up_conv3\.(\d+)", r"decoder.stages.1.\1"),
    (r"decoder\.up_conv4\.conv1\.conv\." + _END, r"decoder.head.0.\1"),
    (r"decoder\.up_conv4\.norm1\." + _END, r"decoder.head.1.\1"),
    (r"decoder\.up_conv4\.conv2\." + _END, r"decoder.head.3.\1"),
    (r"fc_norm\." + _END, r"embedding_norm.\1"),
    (r"projection\." + _END, r"to_embedding.\1"),
    *((old, "codes." + new) for old, new in _CODES_TABLE),
]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = unwrap(unwrap(state, "trainer"), "unitok", "state_dict")
    if bool(state.pop("encoder.pos_embed", torch.zeros(1)).any()):
        raise CheckpointError("unitok: encoder.pos_embed is not zero; the authors' class freezes it at zero.")
    dropped = (*_CODES_DROPPED, r"text_encoder\..*", "logit_scale")
    out = rename(state, _TABLE, dropped=dropped)
    if "encoder.queries" in out:
        out["encoder.queries"] = out["encoder.queries"].flatten(0, -2)
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="unitok",
        upstream="FoundationVision/UniTok models/unitok.py UniTok",
        family="unitok",
        config=_config,
        weights=_weights,
    ),
    Converter(
        system="unitok-quantizer",
        upstream="FoundationVision/UniTok models/unitok.py UniTok: quant_proj, quantizer, post_quant_proj",
        family="unitok_codes",
        config=_codes_config,
        weights=lambda state, config: rename(state, _CODES_TABLE, dropped=_CODES_DROPPED),
    ),
)
