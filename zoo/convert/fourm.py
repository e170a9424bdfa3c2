"""4M's VQ-VAE and DiVAE over pictures (apple/ml-4m @ cda590faa3, fourm/vq/vqvae.py `VQVAE`, `DiVAE`)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, training_only, unwrap
from .base import Converter, rename
from .fields import Fields
from .vit import TIMM_BLOCK_KEYS, under

#: Sizes behind the names `vit_<size>_enc` and `vit_<size>_dec`.
_SIZES = {
    "s": {"dim_tokens": 512, "depth": 8, "num_heads": 8},
    "b": {"dim_tokens": 768, "depth": 12, "num_heads": 12},
    "l": {"dim_tokens": 1024, "depth": 24, "num_heads": 16},
}


def _size(c: Fields, key: str, more: Mapping[str, Any], ending: str, default: str) -> dict[str, int]:
    name, sizes = c.take(key, default), _SIZES | dict(more)
    short = name.removeprefix("vit_").removesuffix(ending)
    if short not in sizes or name != f"vit_{short}{ending}":
        allowed = ", ".join(f"vit_{s}{ending}" for s in sizes)
        raise ValueError(f"{c.name}.{key} is {name!r}; supported: {allowed}.")
    s = sizes[short]
    return {"width": s["dim_tokens"], "layers": s["depth"], "heads": s["num_heads"]}


def _quantizer(c: Fields) -> dict[str, Any]:
    kind, books = c.take("quant_type", "lucid"), c.take("num_codebooks", 1)
    if kind != "lucid" or books != 1:
        raise ValueError(f"{c.name}: quant_type {kind!r} with num_codebooks {books}; supported: 'lucid' with 1 codebook.")
    c.drop("sync_codebook", "code_replacement_policy")  # training on several GPUs; which rows replace dead codes
    training_only(c, "norm_latents", False)
    return {
        "kind": "vq",
        "codebook_size": int(c.take("codebook_size", 16384)),
        "normalize": c.take("norm_codes", True),
        "decay": c.take("ema_decay", 0.99),
        "commitment_weight": float(c.take("commitment_weight", 1.0)),
        "kmeans_init": c.take("kmeans_init", False),
        # theirs is a number of rows, ours a share of the uniform number: only on or off carries over
        "replace_below": 0.1 if c.take("threshold_ema_dead_code", 0.25) else 0.0,
    }


def _encoder(c: Fields, image: int) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """What `VQ`, the class under both, reads; and the sizes of further transformers."""
    c.drop("ckpt_path", "ignore_keys", "freeze_enc")
    c.require("n_labels", None)  # maps of classes are not pictures
    c.require("patch_proj", True)  # feature maps neither
    c.take("undo_std", False)  # pixels go into this family in -1..1, which is what this option brings them to
    more, patch = c.take("model_sizes", {}), c.take("patch_size", 16)
    if not isinstance(patch, int) or not isinstance(image, int):
        raise ValueError(f"{c.name}: patch_size {patch} and image_size {image} must each be one number.")
    out = {
        "patch_size": patch,
        "encoder_grid": (c.take("image_size_enc", None) or image) // patch,
        "encoder": _size(c, "enc_type", more, "_enc", "vit_b_enc"),
        "tanh_mlp": c.take("post_mlp", False),
        "latent_dim": c.take("latent_dim", 32),
        "quantizer": _quantizer(c),
    }
    return out, more


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "4m-vqvae")
    c.require("n_channels", 3)
    image = c.take("image_size", 224)
    out, more = _encoder(c, image)
    patch = out["patch_size"]
    if (c.take("patch_size_dec", None) or patch) != patch:
        raise ValueError("4m-vqvae: patch_size_dec must be patch_size; the decoder gives pictures of the input's size.")
    out |= {
        "decoder_grid": (c.take("image_size_dec", None) or image) // patch,
        "decoder": _size(c, "dec_type", more, "_dec", "vit_b_dec"),
        "refine": c.take("out_conv", False),
    }
    c.done()
    return out


#: What `unet_patched`, the only U-Net of the repository, passes on.
_UNET_PATCHED = {
    "patch_size": 4,
    "model_channels": 256,
    "num_res_blocks": 3,
    "attention_resolutions": [4, 8],
    "channel_mult": [1, 2, 2, 2],
}


def _unet(c: Fields) -> dict[str, Any]:
    """`dec_type` and the arguments of `PatchedUNetCondCat` under `unet`; the number of pixels on a side of its patch too."""
    name, given = c.take("dec_type", "unet_patched"), c.take("unet", None)
    if not name.startswith("unet_") or (given is None and name != "unet_patched"):
        raise ValueError(f"{c.name}.dec_type is {name!r}; supported: 'unet_patched', or another U-Net whose arguments stand in 'unet'.")
    u = Fields(_UNET_PATCHED if given is None else given, f"{c.name}.unet")
    u.drop("use_checkpoint", "image_size", "use_new_attention_order")  # the last is read with the weights
    u.require("dims", 2)
    u.require("num_classes", None)
    heads, head_width, up_heads = u.take("num_heads", 1), u.take("num_head_channels", -1), u.take("num_heads_upsample", -1)
    out = {
        "unet_patch": u.take("patch_size"),
        "unet": {
            "width": u.take("model_channels", 256),
            "blocks": u.take("num_res_blocks", 3),
            "multipliers": [float(m) for m in u.take("channel_mult", (1, 2, 4, 8))],
            "attention_strides": list(u.take("attention_resolutions", (8, 16))),
            "heads": heads,
            "head_width": max(head_width, 0),
            "up_heads": max(up_heads, 0),
            "scale_shift": u.take("use_scale_shift_norm", False),
            "resample_blocks": u.take("resblock_updown", False),
            "resample_convs": u.take("conv_resample", True),
            "dropout": float(u.take("dropout", 0.0)),
        },
    }
    u.done()
    return out


_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine", "sigmoid": "sigmoid"}

_PREDICTIONS = {"sample": "sample", "epsilon": "epsilon", "v_prediction": "velocity"}


def _schedule(c: Fields) -> dict[str, Any]:
    betas = c.take("beta_schedule", "squaredcos_cap_v2")
    kind, _, shift = betas.partition(":")
    if kind not in _BETAS and not (kind == "shifted_cosine" and shift):
        raise ValueError(f"{c.name}.beta_schedule is {betas!r}; supported: {', '.join(_BETAS)}, 'shifted_cosine:SHIFT'.")
    # Their dynamic thresholding has no room to move (1 at most, 1 at least): it clips, too.
    clip = [c.take("clip_sample", False), c.take("thresholding", True)]
    return {
        "times": c.take("num_train_timesteps", 1000),
        "betas": _BETAS.get(kind, kind),
        "shift": float(shift or 1.0),
        "zero_terminal_snr": c.take("zero_terminal_snr", True),
        "prediction": c.one_of("prediction_type", _PREDICTIONS, "v_prediction"),
        "clip": any(clip),
        # the authors' class takes every name but 'ddpm' for DDIM
        "sampler": "ddpm" if c.take("scheduler", "ddpm") == "ddpm" else "ddim",
    }


def _divae_config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "4m-divae")
    c.drop("conditioning", "dec_transformer_dropout", "masked_cfg", "masked_cfg_low", "masked_cfg_high")
    c.drop("image_size_dec")  # the U-Net takes any size
    training_only(c, "cls_free_guidance_dropout", 0.0)
    channels = c.one_of("n_channels", {1: 1, 3: 3}, 3)
    out, _ = _encoder(c, c.take("image_size", 224))
    out |= {"channels": channels, "schedule": _schedule(c), **_unet(c)}
    c.done()
    return out


_SIDE, _END = r"(encoder|decoder)", r"(weight|bias)"
_ENCODER_TABLE = [
    *under(rf"{_SIDE}\.blocks\.(\d+)\.", r"\1.blocks.\2.", TIMM_BLOCK_KEYS),
    (rf"{_SIDE}\.pos_emb", r"\1.positions"),
    (rf"{_SIDE}\.norm_mlp\.{_END}", r"\1.mlp_norm.\2"),
    (rf"{_SIDE}\.post_mlp\.fc1\.{_END}", r"\1.mlp.0.\2"),
    (rf"{_SIDE}\.post_mlp\.fc2\.{_END}", r"\1.mlp.2.\2"),
    (rf"encoder\.proj\.{_END}", r"patch_embed.\1"),
    (rf"quant_proj\.{_END}", r"to_latent.\1"),
    (r"quantize\._codebook\.embed", "quantizer.codebook.embed"),
]
_TABLE = [
    *_ENCODER_TABLE,
    (rf"decoder\.out_proj\.{_END}", r"to_pixels.proj.\1"),
    (rf"decoder\.out_conv\.(\d)\.dwconv\.{_END}", r"refine.\1.depthwise.\2"),
    (rf"decoder\.out_conv\.(\d)\.norm\.{_END}", r"refine.\1.norm.\2"),
    (rf"decoder\.out_conv\.(\d)\.pwconv1\.{_END}", r"refine.\1.mlp.0.\2"),
    (rf"decoder\.out_conv\.(\d)\.pwconv2\.{_END}", r"refine.\1.mlp.2.\2"),
    (r"decoder\.out_conv\.(\d)\.gamma", r"refine.\1.gain"),
    (rf"post_quant_proj\.{_END}", r"from_latent.\1"),
]
_DROPPED = [r"quantize\._codebook\.(initted|cluster_size|embed_avg)"]  # running statistics start anew in training


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    out = rename(unwrap(state, "model", "state_dict"), _TABLE, dropped=_DROPPED)
    for side in ("encoder", "decoder"):
        out[f"{side}.positions"] = out[f"{side}.positions"].flatten(0, 1)
    p = int(config.get("patch_size", 16))
    for end in ("weight", "bias"):  # (colour, row, column) of a patch to (row, column, colour)
        value = out[f"to_pixels.proj.{end}"].unflatten(0, (3, p, p))
        value = value.movedim(0, 2).flatten(0, 2)
        out[f"to_pixels.proj.{end}"] = value[:, :, None, None] if end == "weight" else value
    return out


#: Parts of a U-Net's step by what they hold: (name there, name here). A residual block first in a step is the step's own; one
#: behind it doubles the sides.
_RES_KEYS = (
    (rf"in_layers\.0\.{_END}", "norm_in.{0}"),
    (rf"in_layers\.2\.{_END}", "conv_in.{0}"),
    (rf"emb_layers\.1\.{_END}", "time.{0}"),
    (rf"out_layers\.0\.{_END}", "norm_out.{0}"),
    (rf"out_layers\.3\.{_END}", "conv_out.{0}"),
    (rf"skip_connection\.{_END}", "skip.{0}"),
)
_STEP_KEYS = (
    *((rf"0\.{old}", f"block.{new}") for old, new in _RES_KEYS),
    *((rf"[12]\.{old}", f"resample.{new}") for old, new in _RES_KEYS),
    (rf"1\.norm\.{_END}", "attention.norm.{0}"),
    (rf"1\.qkv\.{_END}", "attention.qkv.{0}"),
    (rf"1\.proj_out\.{_END}", "attention.out.{0}"),
    (rf"0\.op\.{_END}", "resample.conv.{0}"),
    (rf"[12]\.conv\.{_END}", "resample.conv.{0}"),
)
_UNET_TABLE = [
    (rf"decoder\.time_embed\.([02])\.{_END}", r"unet.time.\1.\2"),
    (rf"decoder\.input_blocks\.0\.0\.{_END}", r"unet.stem.\1"),
    *under(r"decoder\.input_blocks\.(\d+)\.", r"unet.down.\1.", _STEP_KEYS),  # counted anew below
    *under(r"decoder\.output_blocks\.(\d+)\.", r"unet.up.\1.", _STEP_KEYS),
    *under(r"decoder\.middle_block\.", "unet.middle.0.", _STEP_KEYS[:6] + _STEP_KEYS[12:15]),
    *under(r"decoder\.middle_block\.2\.", "unet.middle.1.block.", _RES_KEYS),
    (rf"decoder\.out\.0\.{_END}", r"unet.norm_out.\1"),
    (rf"decoder\.out\.2\.{_END}", r"unet.conv_out.\1"),
]


def _divae_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = _divae_config(config)["unet"]
    renamed = rename(unwrap(state, "model", "state_dict"), [*_UNET_TABLE, *_ENCODER_TABLE], dropped=_DROPPED)
    out = {}
    for key, value in renamed.items():
        if key.startswith("unet.down."):  # their first step is the stem
            number, rest = key.removeprefix("unet.down.").split(".", 1)
            key = f"unet.down.{int(number) - 1}.{rest}"
        if ".attention.qkv." in key or ".attention.out." in key:
            value = value.flatten(1) if value.ndim == 3 else value
        if ".attention.qkv." in key and not (config.get("unet") or {}).get("use_new_attention_order", False):
            heads = (own["up_heads"] if key.startswith("unet.up.") else 0) or own["heads"]
            heads = len(value) // 3 // own["head_width"] if own["head_width"] else heads
            value = value.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)  # (head, q k v) to (q k v, head)
        out[key] = value
    out["encoder.positions"] = out["encoder.positions"].flatten(0, 1)
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(system="4m-divae", upstream="apple/ml-4m DiVAE", family="fourm_divae", config=_divae_config, weights=_divae_weights),
    Converter(system="4m-vqvae", upstream="apple/ml-4m VQVAE", family="fourm", config=_config, weights=_weights),
)
