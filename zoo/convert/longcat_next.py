"""LongCat-Next's visual tokenizer (meituan-longcat/LongCat-Next-inference @ 70ab100bee), whole or the quantizer alone.

The whole reads `visual_config` of the model's config.json. Its weights are those under `model.visual_tokenizer.` in the model's
shards, together with image_decoder/image_decoder.safetensors; weights of language, sound and of the second painter are left out.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...codecs.serialize import CheckpointError
from .authors import open_config, part, training_only, unwrap
from .base import Converter, rename
from .fields import TRANSFORMERS_KEYS, Fields

# --- config ---------------------------------------------------------------------------------------------------------------


def _codes(c: Fields) -> dict[str, Any]:
    """`VisualQuantizer`'s settings."""
    c.drop(*TRANSFORMERS_KEYS, "codebook_sizes", "feature_decoder_config", "feature_reconstruction_ratio")
    c.require("quantizer_type", "rq")
    training_only(c, "vq_loss_ratio", 0.0)
    training_only(c, "entropy_loss_ratio", 0.0)
    depth, decay = c.take("depth"), c.take("decay", 0.99)
    if not isinstance(decay, (int, float)):
        raise ValueError(f"{c.name}.decay is {decay!r}; supported: one number for all levels.")
    size = c.take("codebook_size")
    out = {
        "width": c.take("in_channels"),
        "code_dim": c.take("codebook_dim"),
        "mlp": c.take("quant_conv", True),
        "quantizer": {
            "kind": "residual_vq",
            "num_codebooks": depth,
            "codebook_size": size if isinstance(size, int) else list(size),
            "shared_codebook": c.take("shared_codebook", False),
            "decay": float(decay),
            # the mean over the levels there, the sum here
            "commitment_weight": float(c.take("commit_loss_ratio", 0.25)) / depth,
            "kmeans_init": False,
            "replace_below": 0.1 if c.take("restart_unused_codes", True) else 0.0,
        },
    }
    c.done()
    return out


def _codes_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return _codes(open_config(config, "longcat-next-rq"))


def _painter(c: Fields) -> dict[str, Any]:
    """`VisionTransformerDecoder`'s settings, but for those that the encoder and the codes say already."""
    c.drop(*TRANSFORMERS_KEYS, "attention_dropout", "initializer_range", "projection_dim", "image_size", "num_channels")
    gated = bool(c.take("swiglu", False))
    if not gated:
        c.require("hidden_act", "gelu")
    c.drop("hidden_act")
    out = {
        "width": c.take("hidden_size"),
        "layers": c.take("num_hidden_layers"),
        "heads": c.take("num_attention_heads"),
        "hidden": c.take("intermediate_size"),
        "gated": gated,
        "inner_norms": bool(c.take("subln", False)),
        "biases": [bool(c.take(f"{name}_bias", True)) for name in "qkv"],
        "eps": float(c.take("layer_norm_eps")),
    }
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    visual = config.get("visual_config")
    if not isinstance(visual, Mapping):
        raise ValueError("longcat-next: config.json holds no visual_config.")
    c = Fields(visual, "longcat-next.visual_config")
    c.drop(*TRANSFORMERS_KEYS, "initializer_range", "tokens_per_second", "rope_parameters", "freeze", "image_head_config")
    c.drop("image_start_token_id", "image_end_token_id", "image_pad_token_id", "image_newline_token_id", "image_line_token_id")
    c.drop("min_pixels", "max_pixels", "image_size", "image_mean", "image_std")  # of the preprocessing; CLIP's colours
    c.require("hidden_act", "silu")
    c.require("in_channels", 3)
    patch, merge = c.take("patch_size", 14), c.take("spatial_merge_size", 2)
    c.require("merge_size", merge)
    frames = c.take("temporal_patch_size", 2)
    tower = {
        "patch_size": patch,
        "width": c.take("hidden_size"),
        "layers": c.take("depth", 32),
        "heads": c.take("num_heads", 16),
        "hidden": c.take("intermediate_size", 3420),
        "window": c.take("window_size", 112) // merge // patch * merge,
        "whole_layers": list(c.take("fullatt_block_indexes", (7, 15, 23, 31))),
    }
    codes = _codes(part(c, "vq_config"))
    if c.take("out_hidden_size", 3584) != codes["width"]:
        raise ValueError(f"{c.name}: out_hidden_size must be vq_config.in_channels, {codes['width']}.")
    decoder = part(c, "visual_decoder_config")
    decoder.drop(*TRANSFORMERS_KEYS, "transformer_config", "vae_config", "scheduler_config", "weight_path")
    own = part(decoder, "image_decoder_config")
    for key, value in (("patch_size", patch), ("spatial_merge_size", merge), ("temporal_patch_size", frames)):
        own.require(key, value)
    own.require("codebook_dim", codes["code_dim"])
    painter = _painter(own)
    for fields in (own, decoder, c):
        fields.done()
    return {"tower": tower, "merge": merge, "codes": codes, "painter": painter}


# --- weights --------------------------------------------------------------------------------------------------------------

_END = r"(weight|bias)"
_CODES_TABLE = [
    (rf"quant_conv\.([013])\.{_END}", r"to_code.\1.\2"),
    (r"quantize\.codebooks\.(\d+)\.embed", r"quantizer.levels.\1.codebook.embed"),
]
_CODES_DROPPED = (r"quantize\.codebooks\.\d+\.(?:embed_ema|cluster_size_ema)",)  # running statistics start anew in training


def _codes_state(state: Mapping[str, Tensor], shared: bool) -> dict[str, Tensor]:
    out = rename(state, _CODES_TABLE, dropped=_CODES_DROPPED)
    tables = {k: out.pop(k)[:-1] for k in list(out) if k.endswith(".embed")}  # the last row is padding, never chosen
    if not shared:
        return out | tables
    first = tables.get("quantizer.levels.0.codebook.embed")
    if first is None or any(not torch.equal(t, first) for t in tables.values()):
        raise CheckpointError("the config says that all levels share one table, but the file holds several.")
    return out | {"quantizer.codebook.embed": first}


def _codes_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    shared = _codes_config(config)["quantizer"]["shared_codebook"]
    return _codes_state(unwrap(state, "model", "state_dict"), shared)


_TABLE = [
    (r"visual_model\.patch_embed\.proj\.weight", "tower.patch_embed.weight"),
    (r"visual_model\.blocks\.(\d+)\.norm1\.weight", r"tower.blocks.\1.attention_norm.weight"),
    (r"visual_model\.blocks\.(\d+)\.norm2\.weight", r"tower.blocks.\1.mlp_norm.weight"),
    (rf"visual_model\.blocks\.(\d+)\.attn\.qkv\.{_END}", r"tower.blocks.\1.qkv.\2"),
    (rf"visual_model\.blocks\.(\d+)\.attn\.proj\.{_END}", r"tower.blocks.\1.out.\2"),
    (rf"visual_model\.blocks\.(\d+)\.mlp\.(gate|up|down)_proj\.{_END}", r"tower.blocks.\1.\2.\3"),
    (r"visual_bridge_model\.bridge\.ln_q\.weight", "merge_norm.weight"),
    (rf"visual_bridge_model\.bridge\.mlp\.([02])\.{_END}", r"merge.\1.\2"),
    (rf"image_decoder\.post_quant_conv\.{_END}", r"painter.from_code.\1"),
    (r"image_decoder\.post_quant_norm\.weight", "painter.code_norm.weight"),
    (r"image_decoder\.patch_unmerger\.ln_q\.weight", "painter.split_norm.weight"),
    (rf"image_decoder\.patch_unmerger\.mlp\.([02])\.{_END}", r"painter.split.\1.\2"),
    (r"image_decoder\.(norm_in|norm_out)\.weight", r"painter.\1.weight"),
    (r"image_decoder\.encoder\.layers\.(\d+)\.layer_norm1\.weight", r"painter.blocks.\1.attention_norm.weight"),
    (r"image_decoder\.encoder\.layers\.(\d+)\.layer_norm2\.weight", r"painter.blocks.\1.mlp_norm.weight"),
    (rf"image_decoder\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.{_END}", r"painter.blocks.\1.\2.\3"),
    (rf"image_decoder\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.{_END}", r"painter.blocks.\1.out.\2"),
    (r"image_decoder\.encoder\.layers\.(\d+)\.self_attn\.inner_attn_ln\.weight", r"painter.blocks.\1.attention_inner.weight"),
    (r"image_decoder\.encoder\.layers\.(\d+)\.mlp\.ffn_ln\.weight", r"painter.blocks.\1.mlp_inner.weight"),
    (rf"image_decoder\.encoder\.layers\.(\d+)\.mlp\.w1\.{_END}", r"painter.blocks.\1.gate.\2"),
    (rf"image_decoder\.encoder\.layers\.(\d+)\.mlp\.(?:w2|fc1)\.{_END}", r"painter.blocks.\1.up.\2"),
    (rf"image_decoder\.encoder\.layers\.(\d+)\.mlp\.(?:w3|fc2)\.{_END}", r"painter.blocks.\1.down.\2"),
    (rf"image_decoder\.decoder_head\.([02])\.{_END}", r"painter.to_pixels.\1.\2"),
]
_DROPPED = (
    r"visual_embedding_layer\..*",  # the language model's side of the codes
    r"image_refiner\..*",
    r"model\.(?!visual_tokenizer\.).*",  # language and sound
    r"(?:lm_head|visual_head|audio_head|visual_embedding_bridge)\..*",
)


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = _config(config)
    state = {k.removeprefix("model.visual_tokenizer."): v for k, v in state.items()}
    stem = "visual_bridge_model.quantizer."
    codes = {k.removeprefix(stem): v for k, v in state.items() if k.startswith(stem)}
    out = rename({k: v for k, v in state.items() if not k.startswith(stem)}, _TABLE, dropped=_DROPPED)
    embed = "tower.patch_embed.weight"
    if embed in out:
        out[embed] = out[embed].sum(2)  # a still picture stands in all frames of a patch
    for end in ("weight", "bias"):  # of the painted frames the first one counts
        key, p = f"painter.to_pixels.2.{end}", own["tower"]["patch_size"]
        if key in out:
            out[key] = out[key].unflatten(0, (3, -1, p, p))[:, 0].flatten(0, 2)
    shared = own["codes"]["quantizer"]["shared_codebook"]
    return out | {f"codes.{k}": v for k, v in _codes_state(codes, shared).items()}


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="longcat-next",
        upstream="meituan-longcat/LongCat-Next-inference LongcatNextVisualTokenizer, VisionTransformerDecoder",
        family="longcat_next",
        config=_config,
        weights=_weights,
    ),
    Converter(
        system="longcat-next-rq",
        upstream="meituan-longcat/LongCat-Next-inference processor/flash_omni/navit_vq_model.py VisualQuantizer",
        family="longcat_next_codes",
        config=_codes_config,
        weights=_codes_weights,
    ),
)
