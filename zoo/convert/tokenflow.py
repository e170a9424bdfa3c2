"""TokenFlow with the SigLIP teacher (ByteVisionLab/TokenFlow @ 9812da01c0, tokenflow/tokenizer/vq_model.py)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .authors import open_config, part, training_only, unwrap
from .base import Converter
from .fields import TRANSFORMERS_KEYS, Fields
from .llamagen import llamagen_stacks
from .rae import fuse_qkv
from .vit import TIMM_BLOCK_KEYS, under

_SIGLIP = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 22, 27]


def siglip_tower(c: Fields, *, layers_left_out: int = 0, norm_out: str = "affine") -> dict[str, Any]:
    """A `SiglipVisionConfig` to a tower."""
    c.drop(*TRANSFORMERS_KEYS, "attention_dropout", "vision_use_head", "initializer_range")
    c.require("hidden_act", "gelu_pytorch_tanh")
    c.require("num_channels", 3)
    out = {
        "image_size": c.take("image_size", 384),
        "patch_size": c.take("patch_size", 14),
        "width": c.take("hidden_size", 1152),
        "layers": c.take("num_hidden_layers", 27) - layers_left_out,
        "heads": c.take("num_attention_heads", 16),
        "hidden": c.take("intermediate_size", 4304),
        "eps": c.take("layer_norm_eps", 1e-6),
        "class_token": False,
        "registers": 0,
        "layer_scale": None,
        "gelu": "tanh",
        "norm_out": norm_out,
    }
    c.done()
    return out


def _stack(c: Fields, side: str, *, enhanced: bool, dropout: float) -> dict[str, Any]:
    mult = c.take(f"{side}_ch_mult", [1, 1, 2, 2, 4])
    own = part(c, side, {})  # the published class passes neither width nor blocks
    width, blocks = own.take("ch", 128) * (1 + enhanced), own.take("num_res_blocks", 2) * (1 + enhanced)
    own.done()
    out = {"widths": [width * m for m in mult], "attention_levels": [len(mult) - 1], "dropout": dropout}
    return out | ({"stem_width": width, "blocks": blocks} if side == "encoder" else {"blocks": blocks + 1})


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "tokenflow")
    teacher = c.take("teacher")
    if teacher != "siglip_384":
        raise ValueError(f"tokenflow.teacher is {teacher!r}; supported: 'siglip_384' (the CLIP and ViTamin towers are not).")
    c.require("codebook_l2_norm", True)  # the authors' class has no tables without it
    c.require("kmeans", False)
    c.take("codebook_show_usage", True)  # a buffer of recent ids, for display
    c.take("infer_interpolate", False)  # read for the CLIP teacher alone
    training_only(c, "entropy_loss_ratio", 0.0)
    tower = siglip_tower(part(c, "teacher_config", {}), layers_left_out=1, norm_out="none")
    side = tower["image_size"] // tower["patch_size"]
    own = part(c, "shrunk", {})  # constants of the authors' code
    own.drop("usage", "img_size", "patch_size")  # of that buffer; these two say the grid once more
    scales = own.take("scales", _SIGLIP)
    if scales[-1] != side:
        raise ValueError(f"tokenflow: the last scale is {scales[-1]}, but the teacher gives a grid of {side}.")
    width, semantic = own.take("embed_dim", tower["width"]), c.take("semantic_code_dim", 32)
    if width != tower["width"]:
        raise ValueError(f"tokenflow: embed_dim {width} must be the teacher's width {tower['width']}.")
    dropout, enhanced = float(c.take("dropout_p", 0.0)), c.take("enhanced_decoder", False)
    out = {
        "image_size": tower["image_size"],
        "output_size": own.take("out_size", tower["image_size"]),
        "tower": tower,
        "encoder": _stack(c, "encoder", enhanced=False, dropout=dropout),
        "decoder": _stack(c, "decoder", enhanced=enhanced, dropout=dropout),
        "z_channels": c.take("z_channels", 256),
        "pixel_dim": c.take("codebook_embed_dim", 8),
        "semantic_decoder": {
            "image_size": side,
            "patch_size": 1,
            "in_channels": semantic,
            "width": width,
            "layers": own.take("decoder_depth", 3),
            "heads": own.take("num_heads", 12),
            "hidden": 4 * width,
            "registers": 0,
            "layer_scale": None,
            "norm_out": "affine",
        },
        "feature_dim": own.take("decoder_out_dim", 1152),
        "quantizer": {
            "kind": "multiscale_vq",
            "codebook_size": c.take("codebook_size", 16384),
            "scales": [[s, s] for s in scales],
            "phi_ratio": 0.0,
            "semantic_dim": semantic,
            "normalize": True,
            "returns": "normalized",
            "commitment_weight": float(c.take("commit_loss_beta", 1.0)),
        },
    }
    own.done()
    c.done()
    return out


_END = r"(weight|bias)"
#: Blocks of transformers' SigLIP, after `fuse_qkv`.
SIGLIP_BLOCK_KEYS = (
    (r"layer_norm1\." + _END, "attention_norm.{0}"),
    (r"layer_norm2\." + _END, "mlp_norm.{0}"),
    (r"self_attn\.qkv\." + _END, "attention.qkv.{0}"),
    (r"self_attn\.out_proj\." + _END, "attention.out.{0}"),
    (r"mlp\.fc1\." + _END, "mlp.0.{0}"),
    (r"mlp\.fc2\." + _END, "mlp.2.{0}"),
)
_TABLE = [
    *under(r"encoder_vqkd\.(?:vision_model\.)?encoder\.layers\.(\d+)\.", r"tower.blocks.\1.", SIGLIP_BLOCK_KEYS),
    (r"encoder_vqkd\.(?:vision_model\.)?embeddings\.patch_embedding\." + _END, r"tower.patch_embed.\1"),
    (r"encoder_vqkd\.(?:vision_model\.)?embeddings\.position_embedding\.weight", "tower.positions"),
    *under(r"decoder_vqkd\.blocks\.(\d+)\.", r"semantic_decoder.blocks.\1.", TIMM_BLOCK_KEYS),
    (r"decoder_vqkd\.patch_embed\.proj\." + _END, r"semantic_decoder.patch_embed.\1"),
    (r"decoder_vqkd\.cls_token", "semantic_decoder.class_token"),
    (r"decoder_vqkd\.pos_embed", "semantic_decoder.positions"),
    (r"decoder_vqkd\.fc_norm\." + _END, r"semantic_decoder.norm_out.\1"),
    (r"encode_task_layer\.([02])\." + _END, r"to_semantic.\1.\2"),
    (r"decode_task_layer\.([02])\." + _END, r"to_features.\1.\2"),
    (r"quantizer\.codebook\.embed", "quantizer.codebook.embed"),  # joined below
]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = _config(config)
    state = unwrap(state, "ema", "model", "state_dict")
    for name in ("shift", "scale"):
        value = state.pop(f"scaling_layer.{name}", torch.full((3,), 0.5))
        if not bool((value == 0.5).all()):
            raise ValueError(f"tokenflow: scaling_layer.{name} is {value.flatten().tolist()}; SigLIP's is 0.5.")
    tables = [state.pop(f"quantize.embedding_{part}.weight") for part in ("vqkd", "vqgan")]
    state["quantizer.codebook.embed"] = torch.cat(tables, dim=1)
    last = own["tower"]["layers"]
    prefix = r"encoder_vqkd\.(?:vision_model\.)?"
    dropped = (
        r"quantize\.codebook_used",
        prefix + rf"encoder\.layers\.{last}\..*",  # features come from the layer before
        prefix + r"(?:post_layernorm|head)\..*",
    )
    state = fuse_qkv(state, prefix + r"encoder\.layers\.\d+\.self_attn\.", ("q_proj", "k_proj", "v_proj"))
    state = join_query_value_bias(state)
    out = llamagen_stacks(state, len(own["decoder"]["widths"]), more=_TABLE, dropped=dropped)
    for key in ("semantic_decoder.class_token", "semantic_decoder.positions"):
        out[key] = out[key].flatten(0, -2)
    return out


def join_query_value_bias(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace `q_bias` and `v_bias` of BEiT-like attention by one `qkv.bias` with zeros for the keys."""
    out = dict(state)
    for key in [k for k in state if k.endswith(".q_bias")]:
        stem = key[: -len("q_bias")]
        q, v = out.pop(key), out.pop(stem + "v_bias")
        out[stem + "qkv.bias"] = torch.cat([q, out.pop(stem + "zero_k_bias", torch.zeros_like(q)), v])
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="tokenflow",
        upstream="ByteVisionLab/TokenFlow tokenflow/tokenizer/vq_model.py TokenFlow",
        family="tokenflow",
        config=_config,
        weights=_weights,
    ),
)
