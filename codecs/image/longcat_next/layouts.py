"""LongCat-Next's visual tokenizer (meituan-longcat/LongCat-Next-inference @ 70ab100bee), whole or the quantizer alone.

The whole reads `visual_config` of the model's config.json. Its weights are those under `model.visual_tokenizer.` in the model's
shards, and those of image_decoder/image_decoder.safetensors; weights of language and sound are left out, and those of the refiner,
which `refiner_keys.py` reads where it is asked for.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...layouts.configs import open_config, part, training_only
from ...layouts.fields import TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import Each, KeyMap, Rename, Row, Unwrap, without_prefix
from ...layouts.layout import Layout
from ...layouts.rq_keys import padded_tables
from .codes import LongCatNextCodesConfig
from .model import LongCatNextConfig

# --- config ---------------------------------------------------------------------------------------------------------------


def _codes(c: Fields, *, swallowed: bool = False) -> dict[str, Any]:
    """`VisualQuantizer`'s settings; `swallowed` in a config of transformers, which takes any key."""
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
            # the authors take the mean over the levels, this library the sum
            "commitment_weight": float(c.take("commit_loss_ratio", 0.25)) / depth,
            "kmeans_init": False,
            "replace_below": 0.1 if c.take("restart_unused_codes", True) else 0.0,
        },
    }
    c.done(swallowed=swallowed)
    return out


def _codes_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return _codes(open_config(config, "longcat-next-rq"))


def _pixel_decoder(c: Fields) -> dict[str, Any]:
    """`VisionTransformerDecoder`'s settings, except those that follow from the encoder and the codes."""
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
    """Config of the whole model, or its `visual_config` alone; the pixel decoder's part is inside `visual_config`, or beside it."""
    visual = config.get("visual_config", config)
    if not isinstance(visual, Mapping) or "vq_config" not in visual:
        raise ValueError("longcat-next: the config has no visual_config with a vq_config.")
    beside = config.get("visual_decoder_config", {})
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
        "width": c.take("hidden_size", 3584),
        "layers": c.take("depth", 32),
        "heads": c.take("num_heads", 16),
        "hidden": c.take("intermediate_size", 3420),
        "window": c.take("window_size", 112) // merge // patch * merge,
        "whole_layers": list(c.take("fullatt_block_indexes", (7, 15, 23, 31))),
    }
    codes = _codes(part(c, "vq_config"), swallowed=True)
    if c.take("out_hidden_size", 3584) != codes["width"]:
        raise ValueError(f"{c.name}: out_hidden_size must be vq_config.in_channels, {codes['width']}.")
    decoder = part(c, "visual_decoder_config", beside)
    decoder.drop(*TRANSFORMERS_KEYS, "transformer_config", "vae_config", "scheduler_config", "weight_path")
    decoder.drop("codebook_dim", "text_feat_dim")  # for the diffusion refiner
    own = part(decoder, "image_decoder_config")
    for key, value in (("patch_size", patch), ("spatial_merge_size", merge), ("temporal_patch_size", frames)):
        own.require(key, value)
    own.require("codebook_dim", codes["code_dim"])
    decoder_fields = _pixel_decoder(own)
    for fields in (own, decoder, c):
        fields.done(swallowed=True)
    return {"tower": tower, "merge": merge, "codes": codes, "pixel_decoder": decoder_fields}


# --- weights --------------------------------------------------------------------------------------------------------------


def _code_rows(theirs: str, ours: str) -> list[Row]:
    return [(f"{theirs}quant_conv.{{}}.*", f"{ours}to_code.{{}}.*")]


def _code_tables(theirs: str, ours: str, own: LongCatNextCodesConfig) -> Any:
    quantizer: Any = own.quantizer
    return padded_tables(
        f"{theirs}quantize.codebooks.",
        f"{ours}quantizer.",
        table="embed",
        levels=quantizer.num_codebooks,
        shared=quantizer.shared_codebook,
        statistics=False,
    )


#: Running statistics, which start anew in training, of a quantizer whose tables are taken already.
_STATISTICS = "quantize.codebooks.{}.[embed_ema|cluster_size_ema]"


def _codes_keys(own: LongCatNextCodesConfig) -> KeyMap:
    rows = [*_code_rows("", ""), ("quantizer.**", "quantizer.**")]
    return KeyMap(Unwrap("model", "state_dict"), _code_tables("", "", own), Rename(rows, also_drop=(_STATISTICS,)))


_QUANTIZER = "visual_bridge_model.quantizer."
_LAYER = "image_decoder.encoder.layers.{}."
_ROWS: tuple[Row, ...] = (
    ("visual_model.patch_embed.proj.weight", "tower.patch_embed.weight"),
    ("visual_model.blocks.{}.norm1.weight", "tower.blocks.{}.attention_norm.weight"),
    ("visual_model.blocks.{}.norm2.weight", "tower.blocks.{}.mlp_norm.weight"),
    ("visual_model.blocks.{}.attn.qkv.*", "tower.blocks.{}.qkv.*"),
    ("visual_model.blocks.{}.attn.proj.*", "tower.blocks.{}.out.*"),
    ("visual_model.blocks.{}.mlp.{gate|up|down}_proj.*", "tower.blocks.{}.{gate|up|down}.*"),
    ("visual_bridge_model.bridge.ln_q.weight", "merge_norm.weight"),
    ("visual_bridge_model.bridge.mlp.{}.*", "merge.{}.*"),
    ("image_decoder.post_quant_conv.*", "pixel_decoder.from_code.*"),
    ("image_decoder.post_quant_norm.weight", "pixel_decoder.code_norm.weight"),
    ("image_decoder.patch_unmerger.ln_q.weight", "pixel_decoder.split_norm.weight"),
    ("image_decoder.patch_unmerger.mlp.{}.*", "pixel_decoder.split.{}.*"),
    ("image_decoder.{norm_in|norm_out}.weight", "pixel_decoder.{norm_in|norm_out}.weight"),
    (_LAYER + "layer_norm1.weight", "pixel_decoder.blocks.{}.attention_norm.weight"),
    (_LAYER + "layer_norm2.weight", "pixel_decoder.blocks.{}.mlp_norm.weight"),
    (_LAYER + "self_attn.{q|k|v}_proj.*", "pixel_decoder.blocks.{}.{q|k|v}.*"),
    (_LAYER + "self_attn.out_proj.*", "pixel_decoder.blocks.{}.out.*"),
    (_LAYER + "self_attn.inner_attn_ln.weight", "pixel_decoder.blocks.{}.attention_inner.weight"),
    (_LAYER + "mlp.ffn_ln.weight", "pixel_decoder.blocks.{}.mlp_inner.weight"),
    ("image_decoder.decoder_head.{}.*", "pixel_decoder.to_pixels.{}.*"),
    *_code_rows(_QUANTIZER, "codes."),
    ("codes.quantizer.**", "codes.quantizer.**"),
)
_GATED: tuple[Row, ...] = (
    (_LAYER + "mlp.w1.*", "pixel_decoder.blocks.{}.gate.*"),
    (_LAYER + "mlp.w2.*", "pixel_decoder.blocks.{}.up.*"),
    (_LAYER + "mlp.w3.*", "pixel_decoder.blocks.{}.down.*"),
)
_PLAIN: tuple[Row, ...] = (
    (_LAYER + "mlp.fc1.*", "pixel_decoder.blocks.{}.up.*"),
    (_LAYER + "mlp.fc2.*", "pixel_decoder.blocks.{}.down.*"),
)
_DROPPED = (
    "visual_embedding_layer.**",  # the language model's side of the codes
    "image_refiner.**",
    "model.**",  # language and sound
    "{lm_head|visual_head|audio_head|visual_embedding_bridge}.**",
    _QUANTIZER + _STATISTICS,
)


def _keys(own: LongCatNextConfig) -> KeyMap:
    patch = own.tower.patch_size

    def first_frame(v: Tensor) -> Tensor:  # the first of the decoded frames is the picture
        return v.unflatten(0, (3, -1, patch, patch))[:, 0].flatten(0, 2)

    def two_frames(v: Tensor) -> Tensor:
        return v.unflatten(0, (3, 1, patch, patch)).expand(-1, 2, *[-1] * (v.ndim + 1)).flatten(0, 3)

    return KeyMap(
        without_prefix("model.visual_tokenizer."),
        _code_tables(_QUANTIZER, "codes.", own.codes),
        Rename([*_ROWS, *(_GATED if own.pixel_decoder.gated else _PLAIN)], also_drop=_DROPPED),
        # the picture is repeated in all frames of a patch
        Each(("tower.patch_embed.weight",), lambda v: v.sum(2), lambda v: v[:, :, None].expand(-1, -1, 2, -1, -1) / 2),
        Each(("pixel_decoder.to_pixels.2.*",), first_frame, two_frames),
    )


LAYOUTS = (
    Layout(
        system="longcat-next",
        upstream="meituan-longcat/LongCat-Next-inference LongcatNextVisualTokenizer, VisionTransformerDecoder",
        family="longcat_next",
        config=_config,
        keys=_keys,
    ),
    Layout(
        system="longcat-next-rq",
        upstream="meituan-longcat/LongCat-Next-inference processor/flash_omni/navit_vq_model.py VisualQuantizer",
        family="longcat_next_codes",
        config=_codes_config,
        keys=_codes_keys,
    ),
)
