"""CubiD: representation autoencoder and channel-wise quantizer (YuqingWang1029/CubiD @ 5c2146ddac)."""

from collections.abc import Mapping
from typing import Any

import torch

from ...layouts.configs import open_config, part
from ...layouts.fields import TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, State, Then, as_convolution, under, without_ones
from ...layouts.layout import Layout
from ...layouts.ranges import range_of_config
from ...quantizers.dimension_wise import DimensionWiseConfig
from ...serialize import CheckpointError
from .model import RAEConfig

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _tower(c: Fields) -> dict[str, Any]:
    """The fields of our tower's config from a `Dinov2WithRegistersConfig`."""
    c.drop(*TRANSFORMERS_KEYS, "initializer_range", "drop_path_rate")
    c.drop("out_features", "out_indices", "stage_names", "apply_layernorm", "reshape_hidden_states")
    c.drop("hidden_dropout_prob", "attention_probs_dropout_prob")  # used in training only
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
    c.done(swallowed=True)
    if out["registers"] != 4:
        raise ValueError(f"cubid: num_register_tokens is {out['registers']}; only 4 work: the authors cut off 5 tokens.")
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "cubid")
    c.drop("encoder_name", "noise_tau", "decoder_path", "stats_path")  # the file's origin; noise in training
    c.require("normalize_latents", True)  # no model was published without statistics
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


#: A block of transformers' DINOv2 with registers, in the names of version 5 and in those of the published files.
_DINO: tuple[Row, ...] = (
    ("norm1.*", "attention_norm.*"),
    ("norm2.*", "mlp_norm.*"),
    ("attention.[qkv|attention.qkv].*", "attention.qkv.*"),
    ("attention.[o_proj|output.dense].*", "attention.out.*"),
    ("mlp.fc1.*", "mlp.0.*"),
    ("mlp.fc2.*", "mlp.2.*"),
    ("layer_scale1.lambda1", "attention_scale"),
    ("layer_scale2.lambda1", "mlp_scale"),
)
#: A block of the decoder, in the names of the authors' class and in those of the published file.
_MAE: tuple[Row, ...] = (
    ("[norm1|layernorm_before].*", "attention_norm.*"),
    ("[norm2|layernorm_after].*", "mlp_norm.*"),
    ("[attn|attention.attention].qkv.*", "attention.qkv.*"),
    ("[attn.proj|attention.output.dense].*", "attention.out.*"),
    ("[fc1|intermediate.dense].*", "mlp.0.*"),
    ("[fc2|output.dense].*", "mlp.2.*"),
)
_LAYER = "encoder.encoder.[encoder|model].layer.{}."
_ROWS: list[Row] = [
    ("encoder.encoder.embeddings.cls_token", "encoder.class_token"),
    ("encoder.encoder.embeddings.register_tokens", "encoder.registers"),
    ("encoder.encoder.embeddings.position_embeddings", "encoder.positions"),
    ("encoder.encoder.embeddings.patch_embeddings.projection.*", "encoder.patch_embed.*"),
    *under(_LAYER, "encoder.blocks.{}.", _DINO),
    *under("decoder.[blocks|decoder_layers].{}.", "decoder.{}.", _MAE),
    ("decoder.decoder_embed.*", "decoder_in.*"),
    ("decoder.decoder_pos_embed", "positions"),
    ("decoder.[cls_token|trainable_cls_token]", "class_token"),
    ("decoder.[norm|decoder_norm].*", "norm_out.*"),
    ("decoder.[pred|decoder_pred].*", "to_pixels.proj.*"),
    ("latent_{mean|var}", "latent_{mean|var}"),
]
_DROPPED = (
    "{encoder.encoder.embeddings|decoder}.mask_token",  # of the authors' pre-training
    "encoder.encoder.layernorm.*",  # the authors remove gain and bias
    "quantizer.{reconstruction_values|boundaries}",  # computed here
)


def _check_colours() -> Then:
    """Drop the stored colour statistics, which the config has here; CheckpointError if they are not ImageNet's."""

    def read(state: State) -> State:
        out = dict(state)
        for name, values in zip(("mean", "std"), _IMAGENET, strict=True):
            stored = out.pop(f"encoder_{name}", None)
            if stored is not None and not torch.allclose(stored.flatten().float(), torch.tensor(values)):
                raise CheckpointError(f"encoder_{name} is {stored.flatten().tolist()}; only ImageNet's {values} is supported.")
        return out

    return Then(read, lambda state: state)


def _statistics(own: RAEConfig) -> Then:
    """Expand mean and variance of the latents to `[D, h w]`, from `[1, D, h, w]`, `[D, h, w]`, one for each channel, or one number."""
    side, width = own.grid_size, own.encoder.width

    def read(state: State) -> State:
        out = dict(state)
        for name in ("latent_mean", "latent_var"):
            value = out[name]
            value = value[None] if value.ndim == 3 else value[None, ..., None] if value.ndim == 2 else value
            out[name] = value.expand(1, width, side, side).reshape(width, side * side).clone()
        return out

    def write(state: State) -> State:
        return state | {n: state[n].reshape(1, width, side, side) for n in ("latent_mean", "latent_var")}

    return Then(read, write)


def _keys(own: RAEConfig) -> KeyMap:
    """Join the weights of three files under the prefixes of the authors' class: `encoder.encoder.`, `decoder.`, `latent_`."""
    assert isinstance(own.quantizer, DimensionWiseConfig)
    parts = ("query", "key", "value")
    return KeyMap(
        _check_colours(),
        Fuse(parts, "qkv", where=_LAYER + "attention.attention."),
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where=_LAYER + "attention."),
        Fuse(parts, "qkv", where="decoder.decoder_layers.{}.attention.attention."),
        Rename(_ROWS, also_drop=_DROPPED),
        without_ones("encoder.{class_token|registers|positions}", "{class_token|positions}"),
        as_convolution("to_pixels.proj.weight"),
        _statistics(own),
        range_of_config(own.quantizer, own.encoder.width),
    )


LAYOUTS = (
    Layout(
        system="cubid",
        upstream="YuqingWang1029/CubiD rae.py RAE, models/cubid.py quantize",
        family="rae",
        config=_config,
        keys=_keys,
    ),
)
