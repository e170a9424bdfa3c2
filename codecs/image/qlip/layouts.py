"""QLIP (NVlabs/QLIP @ cf86fcc513): `config.json` of `QLIPConfig`, whose `model_type` is "clip"; keys like transformers' CLIP.

The file of weights holds the text tower and the projections of the contrast too; they are left out.
"""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config, part, training_only
from ...layouts.fields import TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, under, with_ones, without_ones
from ...layouts.layout import Layout
from .model import EvaConfig, QLIPConfig

_SYSTEM = "qlip"
_GELU = {"gelu": "none", "gelu_pytorch_tanh": "tanh", "gelu_new": "tanh", "quick_gelu": "quick"}

#: Keys of both parts that the network does not read, or that matter only before and in training.
_UNREAD = ("projection_dim", "attention_dropout", "initializer_range", "initializer_factor", "post_layernorm")
#: Keys of the quantizer and its maps: the class of the decoder's config has them too, and nothing reads them there.
_QUANTIZER = ("quantizer", "quantizer_l2_norm", "quantizer_embed_type", "hidden_size_post_q", "quantizer_cfg")


def _vit(c: Fields) -> dict[str, Any]:
    c.drop(*_UNREAD, *TRANSFORMERS_KEYS)
    c.require("num_channels", 3)
    gated, gelu = c.take("swiglu", False), c.take("hidden_act", "gelu")
    if not gated and gelu not in _GELU:
        raise ValueError(f"{c.name}.hidden_act is {gelu!r}; supported: {', '.join(map(repr, _GELU))}.")
    return {
        "width": c.take("hidden_size", 768),
        "layers": c.take("num_hidden_layers", 12),
        "heads": c.take("num_attention_heads", 12),
        "hidden": c.take("intermediate_size", 3072),
        "gated": gated,
        "inner_norm": c.take("subln", False),
        "rotary": c.take("rope", False),
        "qkv_bias": [c.take(f"{name}_bias", True) for name in "qkv"],
        "eps": c.take("layer_norm_eps", 1e-5),
        "gelu": "none" if gated else _GELU[gelu],
    }


def _quantizer(c: Fields) -> dict[str, Any]:
    c.require("input_format", "blc", "bchw")  # the class fails on maps
    bits, unit, beta = c.take("embed_dim", 18), c.take("l2_norm", True), float(c.take("beta", 0.0))
    entropy = c.one_of("persample_entropy_compute", {"analytical": "analytic", "group": "grouped"}, "group")
    training_only(c, "soft_entropy", True)
    position, codes, inverse = float(c.take("gamma_0", 1.0)), float(c.take("gamma_1", 1.0)), float(c.take("inv_temperature", 100.0))
    group = c.take("group_size", 9)
    if not position and codes:
        raise ValueError(f"{c.name}.gamma_0 is 0 with gamma_1 {codes}; an entropy loss without its first term is not supported.")
    out = {
        # codes of length 1 are those of `bsq`; without l2_norm they are +-1, those of `lfq`, whose commitment is a mean over bits
        "kind": "bsq" if unit else "lfq",
        "bits": bits,
        "bit_order": "msb",
        "entropy": entropy if position else "none",
        "entropy_group_bits": group,
        "entropy_weight": position / inverse,
        "entropy_temperature": 1 / inverse,
        "diversity_gamma": codes / position if position else 1.0,
        "commitment_weight": beta if unit else beta * bits,
    }
    c.done()
    return out | ({"normalize": False} if unit else {})


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    c.drop(*TRANSFORMERS_KEYS, "text_config", "text_config_dict", "projection_dim", "logit_scale_init_value", "initializer_factor")
    c.drop("vision_projection_bias", "text_projection_bias")
    for key in ("vision_config_dict", "decoder_config_dict"):
        c.require(key, None)
    vision, decoder = part(c, "vision_config"), part(c, "decoder_config")
    vision.require("quantizer", "bsq", "none")
    vision.require("quantizer_embed_type", "mlp", "identity")
    quantizer, normalize = _quantizer(part(vision, "quantizer_cfg")), vision.take("quantizer_l2_norm", False)
    size, patch = vision.take("image_size", 224), vision.take("patch_size", 32)
    encoder, between = _vit(vision), vision.take("hidden_size_post_q", None)
    decoder.drop(*_QUANTIZER)
    decoder.require("image_size", size, 224)
    decoder.require("patch_size", patch, 32)
    out = {
        "image_size": size,
        "patch_size": patch,
        "encoder": encoder,
        "decoder": _vit(decoder),
        "latent_dim": quantizer["bits"],
        "normalize": normalize,
        "quantizer": quantizer,
    }
    if (encoder["width"] if between is None else between) != out["decoder"]["width"]:
        raise ValueError(f"{_SYSTEM}.vision_config.hidden_size_post_q is {between}; the decoder's width is {out['decoder']['width']}.")
    for fields in (vision, decoder, c):
        fields.done(swallowed=True)
    return out | {"head_width": out["decoder"]["hidden"]}


def _block(c: EvaConfig) -> list[Row]:
    gated = [("mlp.w1.*", "mlp.gate.*"), ("mlp.w2.*", "mlp.up.*"), ("mlp.w3.*", "mlp.down.*")]
    plain = [("mlp.fc1.*", "mlp.up.*"), ("mlp.fc2.*", "mlp.down.*")]
    return [
        ("layer_norm1.*", "attention_norm.*"),
        ("layer_norm2.*", "mlp_norm.*"),
        ("self_attn.{q|k|v}_proj.*", "attention.{q|k|v}.*"),
        ("self_attn.inner_attn_ln.*", "attention.norm.*"),
        ("self_attn.out_proj.*", "attention.out.*"),
        ("mlp.ffn_ln.*", "mlp.norm.*"),
        *(gated if c.gated else plain),
    ]


_ROWS: tuple[Row, ...] = (
    ("vision_model.embeddings.class_embedding", "class_token"),
    ("vision_model.embeddings.patch_embedding.*", "patch_embed.*"),
    ("vision_model.embeddings.position_embedding.weight", "encoder.positions"),
    ("vision_model.quant_embed.c_fc.*", "to_code.0.*"),
    ("vision_model.quant_embed.c_proj.*", "to_code.2.*"),
    ("vision_model.quant_embed_post.c_fc.*", "from_code.0.*"),
    ("vision_model.quant_embed_post.c_proj.*", "from_code.2.*"),
    ("vision_decoder.position_embeddings", "decoder.positions"),
    ("vision_decoder.norm.*", "norm_out.*"),
    ("vision_decoder.ffn.0.*", "head.0.*"),
    ("vision_decoder.conv_out.*", "to_pixels.*"),
)
#: The contrast with texts, and tables of angles, which every block names again.
_LEFT_OUT = (
    "text_model.**",
    "{text_projection|visual_projection}.**",
    "logit_scale",
    "vision_model.post_layernorm.*",
    "**.rope.*",
    "**.position_ids",
)


def _keys(own: QLIPConfig) -> KeyMap:
    rows = [
        *under("vision_model.encoder.layers.{}.", "encoder.blocks.{}.", _block(own.encoder)),
        *under("vision_decoder.encoder.layers.{}.", "decoder.blocks.{}.", _block(own.decoder)),
        *_ROWS,
    ]
    return KeyMap(Rename(rows, also_drop=_LEFT_OUT), with_ones("class_token"), without_ones("decoder.positions"))


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="NVlabs/QLIP QLIP/modeling_qlip.py QLIPModel",
        family="qlip",
        config=_config,
        keys=_keys,
        class_name="QLIPModel",
    ),
)
