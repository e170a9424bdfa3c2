"""4M's VQ-VAE over pictures (apple/ml-4m @ cda590faa3, fourm/vq/vqvae.py `VQVAE`)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, part, training_only, unwrap
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


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "4m-vqvae")
    c.drop("ckpt_path", "ignore_keys", "freeze_enc")
    c.require("n_channels", 3)
    c.require("n_labels", None)  # maps of classes are not pictures
    c.require("patch_proj", True)  # feature maps neither
    c.take("undo_std", False)  # pixels go into this family in -1..1, which is what this option brings them to
    sizes = part(c, "model_sizes", {})
    more = {k: sizes.take(k) for k in list(config.get("model_sizes", {}))}
    patch, image = c.take("patch_size", 16), c.take("image_size", 224)
    if not isinstance(patch, int) or not isinstance(image, int):
        raise ValueError(f"4m-vqvae: patch_size {patch} and image_size {image} must each be one number.")
    if (c.take("patch_size_dec", None) or patch) != patch:
        raise ValueError("4m-vqvae: patch_size_dec must be patch_size; the decoder gives pictures of the input's size.")
    out = {
        "patch_size": patch,
        "encoder_grid": (c.take("image_size_enc", None) or image) // patch,
        "decoder_grid": (c.take("image_size_dec", None) or image) // patch,
        "encoder": _size(c, "enc_type", more, "_enc", "vit_b_enc"),
        "decoder": _size(c, "dec_type", more, "_dec", "vit_b_dec"),
        "tanh_mlp": c.take("post_mlp", False),
        "refine": c.take("out_conv", False),
        "latent_dim": c.take("latent_dim", 32),
        "quantizer": _quantizer(c),
    }
    c.done()
    return out


_SIDE, _END = r"(encoder|decoder)", r"(weight|bias)"
_TABLE = [
    *under(rf"{_SIDE}\.blocks\.(\d+)\.", r"\1.blocks.\2.", TIMM_BLOCK_KEYS),
    (rf"{_SIDE}\.pos_emb", r"\1.positions"),
    (rf"{_SIDE}\.norm_mlp\.{_END}", r"\1.mlp_norm.\2"),
    (rf"{_SIDE}\.post_mlp\.fc1\.{_END}", r"\1.mlp.0.\2"),
    (rf"{_SIDE}\.post_mlp\.fc2\.{_END}", r"\1.mlp.2.\2"),
    (rf"encoder\.proj\.{_END}", r"patch_embed.\1"),
    (rf"decoder\.out_proj\.{_END}", r"to_pixels.proj.\1"),
    (rf"decoder\.out_conv\.(\d)\.dwconv\.{_END}", r"refine.\1.depthwise.\2"),
    (rf"decoder\.out_conv\.(\d)\.norm\.{_END}", r"refine.\1.norm.\2"),
    (rf"decoder\.out_conv\.(\d)\.pwconv1\.{_END}", r"refine.\1.mlp.0.\2"),
    (rf"decoder\.out_conv\.(\d)\.pwconv2\.{_END}", r"refine.\1.mlp.2.\2"),
    (r"decoder\.out_conv\.(\d)\.gamma", r"refine.\1.gain"),
    (rf"quant_proj\.{_END}", r"to_latent.\1"),
    (rf"post_quant_proj\.{_END}", r"from_latent.\1"),
    (r"quantize\._codebook\.embed", "quantizer.codebook.embed"),
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


CONVERTERS: tuple[Converter, ...] = (
    Converter(system="4m-vqvae", upstream="apple/ml-4m VQVAE", family="fourm", config=_config, weights=_weights),
)
