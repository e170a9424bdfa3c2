"""UniTok (FoundationVision/UniTok @ bb8012e8e8, models/unitok.py): the whole tokenizer, and its codes alone.

`unitok_tokenizer.pth` has the settings under `args` and the weights under `trainer`, `unitok`.
"""

from collections.abc import Mapping
from typing import Any

import torch

from ...layouts.configs import open_config, training_only
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, Unwrap, under, without_ones
from ...layouts.layout import Layout
from ...layouts.vit_keys import KEY_BIAS, PROJECTION
from ...serialize import CheckpointError
from .codes import UniTokCodesConfig
from .model import UniTokConfig

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
    c.take("e_temp", 0.01)  # weights of the entropy term
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
    out = _codes(c, c.take("embed_dim"))  # the tower's width in this library
    c.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = Fields(config.get("args", config), "unitok")
    c.drop(*FOLDER_KEYS, *_ARGS)
    tower = dict(c.one_of("model", _TOWERS, "vitamin_large"))
    tower |= c.take("vitamin", {})  # keys of reference folders, whose towers are smaller
    tower |= {"queries": c.take("num_query", 0), "drop_path": float(c.take("drop_path", 0.1))}
    out = {
        "image_size": c.take("img_size", 256),
        "tower": tower,
        "codes": _codes(c, tower["width"]),
        "embedding_dim": c.take("embed_dim", 768),
    }
    c.done()
    return out


_CODES: tuple[Row, ...] = (
    *under("quant_proj.", "to_code.", PROJECTION),
    *under("post_quant_proj.", "from_code.", PROJECTION),
    ("quant_proj.*", "to_code.*"),
    ("post_quant_proj.*", "from_code.*"),
    ("quantizer.codebooks.{}.codebook.weight", "quantizer.stacks.{}.levels.0.codebook.embed"),
)
_CODES_DROPPED = (KEY_BIAS, "quantizer.codebooks.{}.vocab_usage")  # recent usage of the codes

#: Convolution blocks in timm's spelling.
_MBCONV: tuple[Row, ...] = (
    ("pre_norm.*", "norm.*"),
    ("conv1_1x1.*", "expand.*"),
    ("conv2_kxk.*", "depthwise.*"),
    ("conv3_1x1.*", "project.*"),
    ("up.conv.*", "up.*"),
    ("shortcut.expand.*", "shortcut.expand.*"),
    ("[shortcut.conv|shortcut].*", "shortcut.*"),
)
#: ViT blocks with gated MLPs in timm's spelling.
_GATED: tuple[Row, ...] = (
    ("norm1.*", "attention_norm.*"),
    ("norm2.*", "mlp_norm.*"),
    ("attn.qkv.*", "attention.qkv.*"),
    ("attn.proj.*", "attention.out.*"),
    ("mlp.norm.*", "gated.norm.*"),
    ("mlp.w0.*", "gated.gate.*"),
    ("mlp.w1.*", "gated.up.*"),
    ("mlp.w2.*", "gated.down.*"),
)
_BACKBONE = "encoder.patch_embed.backbone."
#: ViTamin in timm's names, after "encoder.".
ENCODER: tuple[Row, ...] = (
    (_BACKBONE + "stem.conv1.*", "encoder.stem.0.*"),
    (_BACKBONE + "stem.norm1.*", "encoder.stem.1.*"),
    (_BACKBONE + "stem.conv2.*", "encoder.stem.3.*"),
    *under(_BACKBONE + "stages.{}.{}.", "encoder.stages.{}.{}.", _MBCONV),
    (_BACKBONE + "pool.norm.*", "encoder.patch_norm.*"),
    (_BACKBONE + "pool.proj.*", "encoder.patches.*"),
    ("encoder.reg_token", "encoder.queries"),
    *under("encoder.blocks.{}.", "encoder.blocks.{}.", _GATED),
    ("encoder.norm.*", "encoder.norm_out.*"),
)
_ROWS: tuple[Row, ...] = (
    *ENCODER,
    *under("decoder.blocks.{}.", "decoder.blocks.{}.", _GATED),
    ("decoder.norm.*", "decoder.norm_out.*"),
    ("decoder.up_conv1.conv.*", "decoder.up.*"),
    *under("decoder.up_conv2.{}.", "decoder.stages.0.{}.", _MBCONV),
    *under("decoder.up_conv3.{}.", "decoder.stages.1.{}.", _MBCONV),
    ("decoder.up_conv4.conv1.conv.*", "decoder.head.0.*"),
    ("decoder.up_conv4.norm1.*", "decoder.head.1.*"),
    ("decoder.up_conv4.conv2.*", "decoder.head.3.*"),
    ("fc_norm.*", "embedding_norm.*"),
    ("projection.*", "to_embedding.*"),
    *under("", "codes.", _CODES),
)


def _no_positions(width: int) -> Then:
    """Drop the encoder's positions, which the authors' class freezes at zero; ValueError if they are not zero."""

    def read(state: State) -> State:
        if bool(state.get("encoder.pos_embed", torch.zeros(1)).any()):
            raise CheckpointError("unitok: encoder.pos_embed is not zero; the authors' class freezes it at zero.")
        return {k: v for k, v in state.items() if k != "encoder.pos_embed"}

    return Then(read, lambda state: state | {"encoder.pos_embed": torch.zeros(1, 1, width)})


def _keys(own: UniTokConfig) -> KeyMap:
    return KeyMap(
        Unwrap("trainer"),
        Unwrap("unitok", "state_dict"),
        _no_positions(own.tower.width),
        Rename(_ROWS, also_drop=(*_CODES_DROPPED, "text_encoder.**", "logit_scale")),
        without_ones("encoder.queries"),
    )


def _codes_keys(own: UniTokCodesConfig) -> KeyMap:
    return KeyMap(Rename(_CODES, also_drop=_CODES_DROPPED))


LAYOUTS = (
    Layout(
        system="unitok",
        upstream="FoundationVision/UniTok models/unitok.py UniTok",
        family="unitok",
        config=_config,
        keys=_keys,
    ),
    Layout(
        system="unitok-quantizer",
        upstream="FoundationVision/UniTok models/unitok.py UniTok: quant_proj, quantizer, post_quant_proj",
        family="unitok_codes",
        config=_codes_config,
        keys=_codes_keys,
    ),
)
