"""ILLUME+'s DualViTok (illume-unified-mllm/ILLUME_plus @ 51de69dcd4, vision_tokenizer/tokenizer/dualvitok_model.py)."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, part, unwrap
from .base import Converter, rename
from .emu3 import movq_table
from .fields import TRANSFORMERS_KEYS, Fields
from .taming_keys import fuse_qkv
from .vit import TIMM_BLOCK_KEYS, under

#: The tower that the published model was trained on, whose config stands in its own repository.
TOWER = "Emova-ollm/qwen2vit600m"

_ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu", "relu": "relu"}


def _tower(c: Fields) -> dict[str, Any]:
    """A `Qwen2VLVisionConfig`."""
    c.drop(*TRANSFORMERS_KEYS, "attn_implementation", "init_weights", "initializer_range")
    c.require("in_channels", 3)
    c.require("patch_size", 14)  # these three are written into the authors' resizing
    c.require("spatial_merge_size", 2)
    c.require("temporal_patch_size", 2)
    out = {
        "width": c.take("embed_dim", 1280),
        "layers": c.take("depth", 32),
        "heads": c.take("num_heads", 16),
        "mlp_ratio": float(c.take("mlp_ratio", 4)),
        "activation": c.one_of("hidden_act", _ACTIVATIONS, "quick_gelu"),
        "feature_dim": c.take("hidden_size", 3584),
    }
    c.done()
    return out


def _simvq(c: Fields) -> dict[str, Any]:
    c.require("type", "SimVQ")
    c.require("channel_first", True, False)  # the latents are [B, D, h, w]
    weight = float(c.take("commitment_weight", 1.0))
    out = {
        "kind": "simvq",
        "dim": c.take("dim"),
        "codebook_size": c.take("codebook_size"),
        "table_dim": c.take("frozen_codebook_dim", None) or 0,
        "gradient": "rotation" if c.take("rotation_trick", True) else "straight_through",
        "commitment_weight": weight * float(c.take("input_to_quantize_commit_loss_weight", 0.25)),
        "codebook_weight": weight,
    }
    c.done()
    return out


def _movq(c: Fields, side: str) -> tuple[dict[str, Any], int, int]:
    """A `MoVQConfig` to one stack, its channels and the code's."""
    c.drop(*TRANSFORMERS_KEYS, "codebook_size")
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    c.require("double_z", False)  # the map behind the encoder takes no more
    width, mult, blocks = c.take("ch", 256), c.take("ch_mult", [1, 1, 2, 2, 4]), c.take("num_res_blocks", 2)
    stack = {
        "widths": [width * m for m in mult],
        "attention_levels": [i for i in c.take("attn_resolutions", [4]) if 0 <= i < len(mult)],  # numbers of levels, not sides
        "dropout": float(c.take("dropout", 0.0)),
    }
    dc = c.take("use_dc_up_down_blocks", False)
    if side == "encoder":
        stack |= {"stem_width": width, "blocks": blocks, "resample": "residual" if dc else "conv", "head_shortcut": dc}
    else:
        stack |= {"blocks": blocks + 1, "resample": "residual" if dc else "nearest_conv", "stem_shortcut": dc}
        stack["condition"] = "spatial"
    channels, code = c.take("z_channels", 32), c.take("embed_dim", 4)
    c.done()
    return stack, channels, code


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config.get("config", config), "dualvitok")
    c.drop("infer_interpolate", "vq_ckpt", "use_vq_ckpt_ema")  # read by scripts, or where training began
    heads = c.take("block_num_heads", 16)
    enc, dec = part(c, "semantic_encoder"), part(c, "semantic_decoder")
    for each in (enc, dec):
        each.drop("attn_implementation")
    tower = enc.take("semantic_encoder")
    if "qwen2_vit" not in config.get("config", config) and tower != TOWER:
        raise ValueError(f"dualvitok.semantic_encoder.semantic_encoder is {tower!r}; without 'qwen2_vit' only {TOWER!r} is known.")
    encoder, encoder_channels, pixel_dim = _movq(part(c, "pixel_encoder"), "encoder")
    decoder, decoder_channels, code_dim = _movq(part(c, "pixel_decoder"), "decoder")
    both = c.take("semantic_detail_merge_type", "cat") == "cat"
    drop, items = c.take("pixel_drop_rate", None), c.take("pixel_drop_batch_rate", 0.1)
    out = {
        "tower": _tower(part(c, "qwen2_vit", {})),
        "semantic_encoder": {
            "width": enc.take("embed_dim", 1280),
            "layers": enc.take("num_blocks", 2),
            "heads": heads,
        },
        "semantic_head": enc.one_of("proj_layer", {n: n for n in ("linear", "norm_linear", "mlp")}, "linear"),
        "semantic_dim": enc.take("z_channels", 4) * (2 if enc.take("double_z", False) else 1),
        "target": enc.one_of("target_mlp", {n: n for n in ("norm", "identity")}, "norm"),
        "semantic_decoder": {
            "width": dec.take("embed_dim", 1280),
            "layers": dec.take("num_blocks", 2),
            "heads": heads,
        },
        "feature_head": dec.one_of("proj_layer", {n: n for n in ("linear", "norm_linear", "linear_norm", "mlp")}, "linear"),
        "feature_dim": dec.take("output_channels", 1280),
        "encoder": encoder,
        "encoder_channels": encoder_channels,
        "pixel_dim": pixel_dim,
        "decoder": decoder,
        "decoder_channels": decoder_channels,
        "merge": "both" if both else "pixel",
        "semantic_quantizer": _simvq(part(c, "semantic_quantizer")),
        "pixel_quantizer": _simvq(part(c, "pixel_quantizer")),
        "noise_items": float(items),
        "noise_positions": float(drop or 0.0),
        "noise": c.one_of("pixel_noise_type", {"random": "other", "zero": "zero"}, "random"),
    }
    widths = {
        "semantic_quantizer.dim": (out["semantic_quantizer"]["dim"], out["semantic_dim"]),
        "semantic_decoder.z_channels": (dec.take("z_channels", 4), out["semantic_dim"]),
        "pixel_quantizer.dim": (out["pixel_quantizer"]["dim"], pixel_dim),
        "pixel_decoder.embed_dim": (code_dim, pixel_dim + (out["semantic_dim"] if both else 0)),
    }
    for name, (got, want) in widths.items():
        if got != want:
            raise ValueError(f"dualvitok.{name} is {got}, but the codes it meets are {want} wide.")
    for each in (enc, dec, c):
        each.done()
    return out


_END = r"(weight|bias)"
_TABLE = [
    (r"semantic_encoder\.model\.patch_embed\.proj\.weight", "tower.patch_embed.weight"),
    (r"semantic_encoder\.model\.merger\.ln_q\." + _END, r"tower.merge_norm.\1"),
    (r"semantic_encoder\.model\.merger\.mlp\.([02])\." + _END, r"tower.merger.\1.\2"),
    *under(r"semantic_encoder\.model\.blocks\.(\d+)\.", r"tower.stack.blocks.\1.", TIMM_BLOCK_KEYS),
    (r"semantic_encoder\.proj_in\." + _END, r"semantic_in.\1"),
    *under(r"semantic_(encoder|decoder)\.blocks\.(\d+)\.", r"semantic_\1.blocks.\2.", TIMM_BLOCK_KEYS),
    (r"semantic_encoder\.proj_out\.(\d+)\." + _END, r"to_semantic.\1.\2"),
    (r"semantic_decoder\.proj_in\." + _END, r"feature_in.\1"),
    (r"semantic_decoder\.proj_out\.(\d+)\." + _END, r"to_features.\1.\2"),
    (r"quant_conv\." + _END, r"to_pixel.\1"),
    (r"post_quant_conv\." + _END, r"from_code.\1"),
    (r"quantizer\.code_transform\.weight", "quantizer.fine.transform.weight"),
    (r"quantizer\.frozen_codebook", "quantizer.fine.table"),
    (r"semantic_quantizer\.code_transform\.weight", "quantizer.coarse.transform.weight"),
    (r"semantic_quantizer\.frozen_codebook", "quantizer.coarse.table"),
    *movq_table(),
]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = {re.sub(r"^pixel_", "", k): v for k, v in unwrap(state, "model", "state_dict").items()}
    out = rename(fuse_qkv(state), _TABLE)
    out["tower.patch_embed.weight"] = out["tower.patch_embed.weight"].sum(2)  # both frames are the same picture
    out["semantic_in.weight"] = out["semantic_in.weight"].flatten(1)  # a 1 x 1 convolution there
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="dualvitok",
        upstream="illume-unified-mllm/ILLUME_plus vision_tokenizer/tokenizer/dualvitok_model.py DualViTok",
        family="dualvitok",
        config=_config,
        weights=_weights,
    ),
)
