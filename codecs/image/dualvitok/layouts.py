"""ILLUME+'s DualViTok (illume-unified-mllm/ILLUME_plus @ 51de69dcd4, vision_tokenizer/tokenizer/dualvitok_model.py)."""

from collections.abc import Mapping
from typing import Any

from ...layouts import movq_keys
from ...layouts.configs import open_config, part
from ...layouts.fields import TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import Each, Fuse, KeyMap, Rename, Row, Unwrap, pointwise, under
from ...layouts.layout import Layout
from ...layouts.vit_keys import TIMM_BLOCK
from .model import DualViTokConfig

#: The tower that the published model was trained on; its config is in a separate repository.
TOWER = "Emova-ollm/qwen2vit600m"

_ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu", "relu": "relu"}


def _tower(c: Fields) -> dict[str, Any]:
    """A `Qwen2VLVisionConfig` of transformers to the fields of our tower's config."""
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
    c.require("double_z", False)  # the map after the encoder takes no more channels
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
    c.drop("infer_interpolate", "vq_ckpt", "use_vq_ckpt_ema")  # read by scripts only, or the start of training
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
            raise ValueError(f"dualvitok.{name} is {got}, but the codes have {want} channels.")
    for each in (enc, dec, c):
        each.done()
    return out


#: Keys of the pixel branch begin with "pixel_"; those of the semantic quantizer and the tower have no such prefix.
_ROWS: tuple[Row, ...] = (
    ("semantic_encoder.model.patch_embed.proj.weight", "tower.patch_embed.weight"),
    ("semantic_encoder.model.merger.ln_q.*", "tower.merge_norm.*"),
    ("semantic_encoder.model.merger.mlp.{}.*", "tower.merger.{}.*"),
    *under("semantic_encoder.model.blocks.{}.", "tower.stack.blocks.{}.", TIMM_BLOCK),
    ("semantic_encoder.proj_in.*", "semantic_in.*"),
    *under("semantic_{encoder|decoder}.blocks.{}.", "semantic_{encoder|decoder}.blocks.{}.", TIMM_BLOCK),
    ("semantic_encoder.proj_out.{}.*", "to_semantic.{}.*"),
    ("semantic_decoder.proj_in.*", "feature_in.*"),
    ("semantic_decoder.proj_out.{}.*", "to_features.{}.*"),
    ("semantic_quantizer.code_transform.weight", "quantizer.coarse.transform.weight"),
    ("semantic_quantizer.frozen_codebook", "quantizer.coarse.table"),
    ("pixel_quant_conv.*", "to_pixel.*"),
    ("pixel_post_quant_conv.*", "from_code.*"),
    ("pixel_quantizer.code_transform.weight", "quantizer.fine.transform.weight"),
    ("pixel_quantizer.frozen_codebook", "quantizer.fine.table"),
    *under("pixel_", "", movq_keys.stacks()),
)


def _keys(own: DualViTokConfig) -> KeyMap:
    # Both frames of a patch are the same picture: their maps are one map, the sum.
    frames = Each(("tower.patch_embed.weight",), lambda v: v.sum(2), lambda v: v[:, :, None].expand(-1, -1, 2, -1, -1) / 2)
    return KeyMap(
        Unwrap("model", "state_dict"),
        Fuse(("q", "k", "v"), "qkv", where="pixel_{encoder|decoder}.**."),
        Rename(_ROWS),
        frames,
        pointwise("semantic_in.weight", axes=2),
    )


LAYOUTS = (
    Layout(
        system="dualvitok",
        upstream="illume-unified-mllm/ILLUME_plus vision_tokenizer/tokenizer/dualvitok_model.py DualViTok",
        family="dualvitok",
        config=_config,
        keys=_keys,
    ),
)
