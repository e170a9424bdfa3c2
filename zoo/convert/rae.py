"""CubiD: representation autoencoder and channel-wise quantizer (YuqingWang1029/CubiD @ 5c2146ddac)."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .authors import open_config, part
from .base import Converter, rename
from .vit import under

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _tower(c: Any) -> dict[str, Any]:
    """A `Dinov2WithRegistersConfig` to a tower."""
    c.drop("model_type", "transformers_version", "architectures", "dtype", "torch_dtype", "initializer_range", "drop_path_rate")
    c.drop("out_features", "out_indices", "stage_names", "apply_layernorm", "reshape_hidden_states", "_name_or_path")
    c.drop("hidden_dropout_prob", "attention_probs_dropout_prob")  # in training only
    c.require("hidden_act", "gelu")
    c.require("qkv_bias", True)
    c.require("use_swiglu_ffn", False)
    c.require("num_channels", 3)
    width = c.take("hidden_size", 768)
    out = {
        "image_size": c.take("image_size", 518),
        "patch_size": c.take("patch_size", 14),
        "width": width,
        "layers": c.take("num_hidden_layers", 12),
        "heads": c.take("num_attention_heads", 12),
        "hidden": int(width * c.take("mlp_ratio", 4)),
        "registers": c.take("num_register_tokens", 4),
        "layer_scale": float(c.take("layerscale_value", 1.0)),
        "eps": c.take("layer_norm_eps", 1e-6),
    }
    c.done()
    if out["registers"] != 4:
        raise ValueError(f"cubid: num_register_tokens is {out['registers']}; only 4 work: the authors cut off 5 tokens.")
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "cubid")
    c.drop("encoder_name", "noise_tau", "decoder_path", "stats_path")  # where from; noise of training
    tower = _tower(part(c, "encoder_config", {}))
    size, patch = c.take("encoder_size", 224), c.take("decoder_patch_size", 16)
    q = part(c, "quantizer", {"quant_levels": 8, "quant_min": -9.0, "quant_max": 9.0})
    out = {
        "image_size": c.take("image_size", size // tower["patch_size"] * patch),
        "encoder": tower,
        "encoder_size": size,
        "decoder": {
            "width": c.take("decoder_dim", 1152),
            "layers": c.take("decoder_depth", 28),
            "heads": c.take("decoder_heads", 16),
        },
        "decoder_hidden": c.take("decoder_mlp_dim", 4096),
        "decoder_patch_size": patch,
        "quantizer": {
            "kind": "dimension_wise",
            "levels": q.take("quant_levels", 32),
            "low": float(q.take("quant_min", -5.0)),
            "high": float(q.take("quant_max", 5.0)),
            "sigmas": float(q.take("std_range", 3.0)),
        },
    }
    q.done()
    c.done()
    return out


_PART = r"(weight|bias)"
_TABLE = [
    (r"encoder\.encoder\.embeddings\.cls_token", "encoder.class_token"),
    (r"encoder\.encoder\.embeddings\.register_tokens", "encoder.registers"),
    (r"encoder\.encoder\.embeddings\.position_embeddings", "encoder.positions"),
    (r"encoder\.encoder\.embeddings\.patch_embeddings\.projection\." + _PART, r"encoder.patch_embed.\1"),
    *under(
        r"encoder\.encoder\.encoder\.layer\.(\d+)\.",
        r"encoder.blocks.\1.",
        (
            (r"norm1\." + _PART, "attention_norm.{0}"),
            (r"norm2\." + _PART, "mlp_norm.{0}"),
            (r"attention\.qkv\." + _PART, "attention.qkv.{0}"),
            (r"attention\.(?:o_proj|output\.dense)\." + _PART, "attention.out.{0}"),
            (r"mlp\.fc1\." + _PART, "mlp.0.{0}"),
            (r"mlp\.fc2\." + _PART, "mlp.2.{0}"),
            (r"layer_scale1\.lambda1", "attention_scale"),
            (r"layer_scale2\.lambda1", "mlp_scale"),
        ),
    ),
    *under(
        r"decoder\.blocks\.(\d+)\.",
        r"decoder.\1.",
        (
            (r"norm1\." + _PART, "attention_norm.{0}"),
            (r"norm2\." + _PART, "mlp_norm.{0}"),
            (r"attn\.qkv\." + _PART, "attention.qkv.{0}"),
            (r"attn\.proj\." + _PART, "attention.out.{0}"),
            (r"fc1\." + _PART, "mlp.0.{0}"),
            (r"fc2\." + _PART, "mlp.2.{0}"),
        ),
    ),
    (r"decoder\.decoder_embed\." + _PART, r"decoder_in.\1"),
    (r"decoder\.decoder_pos_embed", "positions"),
    (r"decoder\.cls_token", "class_token"),
    (r"decoder\.norm\." + _PART, r"norm_out.\1"),
    (r"decoder\.pred\." + _PART, r"to_pixels.proj.\1"),
    (r"latent_(mean|var)", r"latent_\1"),
]
_DROPPED = [
    r"encoder\.encoder\.embeddings\.mask_token",  # of its pre-training
    r"encoder\.encoder\.layernorm\.(weight|bias)",  # the authors take gain and bias out
    r"encoder_(mean|std)",  # checked below
    r"quantizer\.(reconstruction_values|boundaries)",  # computed
]


def fuse_qkv(state: Mapping[str, Tensor], prefix: str, names: tuple[str, str, str]) -> dict[str, Tensor]:
    """Stack separate query, key and value maps behind `prefix` (an expression) into one `qkv`, under the same parent."""
    out = dict(state)
    for key in list(state):
        if found := re.fullmatch(f"({prefix}){re.escape(names[0])}\\.(weight|bias)", key):
            head, kind = found[1], found[found.lastindex or 0]
            out[f"{head}qkv.{kind}"] = torch.cat([out.pop(f"{head}{n}.{kind}") for n in names])
    return out


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = _config(config)
    for name, values in zip(("mean", "std"), _IMAGENET, strict=True):
        stored = state.get(f"encoder_{name}")
        if stored is not None and not torch.allclose(stored.flatten().float(), torch.tensor(values)):
            raise ValueError(f"cubid: encoder_{name} is {stored.flatten().tolist()}; only ImageNet's {values} is supported.")
    layer = r"encoder\.encoder\.encoder\.layer\.\d+\.attention\."
    state = fuse_qkv(state, layer, ("q_proj", "k_proj", "v_proj"))
    out = rename(state, _TABLE, dropped=_DROPPED)
    for key in ("encoder.class_token", "encoder.registers", "encoder.positions", "class_token", "positions"):
        out[key] = out[key].flatten(0, -2)
    for key in ("to_pixels.proj.weight",):
        out[key] = out[key][:, :, None, None]
    side = own["encoder_size"] // own["encoder"]["patch_size"]
    for name in ("latent_mean", "latent_var"):  # [1, D, h, w], or one value for all
        value = out[name]
        out[name] = value.expand(1, own["encoder"]["width"], side, side).reshape(-1, side * side).clone()
    if config.get("normalize_latents") is False:
        raise ValueError("cubid: normalize_latents is false; quantized latents are always normalised.")
    for name in ("low", "high"):  # the quantizer has no weights of its own: its range comes from the config
        out[f"quantizer.{name}"] = torch.full((own["encoder"]["width"], 1), own["quantizer"][name])
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="cubid",
        upstream="YuqingWang1029/CubiD rae.py RAE, models/cubid.py quantize",
        family="rae",
        config=_config,
        weights=_weights,
    ),
)
