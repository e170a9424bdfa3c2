"""SEED's second tokenizer, whole or from the Q-Former's features on (AILab-CVC/SEED @ 93b3cf4081, models/seed_qformer/).

The authors load EVA-CLIP-g and bert-base-uncased by name; other sizes stand in the keys `eva_vit` and `bert`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, part, unwrap
from .base import Converter, rename
from .fields import TRANSFORMERS_KEYS, Fields
from .tokenflow import join_query_value_bias
from .vit import TIMM_BLOCK_KEYS, under


def _qformer(values: Mapping[str, Any], name: str, *, causal: bool) -> dict[str, Any]:
    """A BERT config to a Q-Former; the picture is read in every second layer, whatever `cross_attention_freq` says."""
    c = Fields(values, name)
    c.drop(*TRANSFORMERS_KEYS, "vocab_size", "max_position_embeddings", "type_vocab_size", "pad_token_id", "initializer_range")
    c.drop("hidden_dropout_prob", "attention_probs_dropout_prob", "gradient_checkpointing", "use_cache", "classifier_dropout")
    c.drop("encoder_width", "add_cross_attention", "cross_attention_freq", "query_length")  # set by the authors' class
    c.require("hidden_act", "gelu")
    c.require("position_embedding_type", "absolute")
    out = {
        "width": c.take("hidden_size", 768),
        "layers": c.take("num_hidden_layers", 12),
        "heads": c.take("num_attention_heads", 12),
        "hidden": c.take("intermediate_size", 3072),
        "eps": float(c.take("layer_norm_eps", 1e-12)),
        "causal": causal,
    }
    c.done()
    return out


def _tower(c: Fields, image_size: int) -> dict[str, Any]:
    """`VisionTransformer`'s arguments in eva_vit.py; the defaults are EVA-CLIP-g's."""
    c.drop("drop_rate", "attn_drop_rate", "drop_path_rate", "use_checkpoint", "num_classes", "init_scale", "use_mean_pooling")
    for key, value in (("in_chans", 3), ("qkv_bias", True), ("qk_scale", None), ("use_abs_pos_emb", True)):
        c.require(key, value)
    c.require("use_rel_pos_bias", False)
    c.require("use_shared_rel_pos_bias", False)
    width = c.take("embed_dim", 1408)
    out = {
        "image_size": image_size,
        "patch_size": c.take("patch_size", 14),
        "width": width,
        "layers": c.take("depth", 39),
        "heads": c.take("num_heads", 16),
        "hidden": int(width * c.take("mlp_ratio", 4.3637)),
        "class_token": True,
        "registers": 0,
        "layer_scale": c.take("init_values", None) or None,
        "norm_out": "none",
    }
    c.done()
    return out


def _codes(c: Fields, num_queries: int, width: int, bert: Mapping[str, Any]) -> dict[str, Any]:
    c.take("recon_s", True)  # a second head, which nothing here reads
    c.drop("use_recon_s_for_image", "embed_dim", "max_txt_len", "cross_attention_freq")
    c.require("blocks_for_image", True)  # without them the authors' class makes no embedding
    reverse = c.take("use_qformer_image", False)
    return {
        "num_queries": num_queries,
        "width": width,
        "code_dim": c.take("codebook_embed_dim", 32),
        "embedding_dim": c.take("image_features_dim", 1024),
        "head_layers": c.take("decode_depth", 4),
        "head_heads": c.take("num_heads", 12),
        "reverse": _qformer(bert, "seed2.bert", causal=False) if reverse else None,
        "quantizer": {
            "kind": "vq",
            "codebook_size": c.take("n_embed", 8192),
            "update": "gradient",
            "commitment_weight": 1.0,  # the authors' beta stands at the other term ("legacy")
            "codebook_weight": 0.25,
            "kmeans_init": False,
            "replace_below": 0.0,
        },
    }


def _codes_config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "seed2-quantizer")
    width = c.take("qformer_hidden_size", 768)
    out = _codes(c, c.take("num_query_token", 32), width, {"hidden_size": width} | c.take("bert", {}))
    c.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "seed2")
    c.drop("drop_path_rate", "use_grad_checkpoint", "vit_precision", "freeze_vit")
    c.require("vit_model", "eva_clip_g")
    bert, num_queries = c.take("bert", {}), c.take("num_query_token", 32)
    # The authors' BERT masks the future where it sees 32 queries, and only then.
    qformer = _qformer(bert, "seed2.bert", causal=num_queries == 32)
    out = {
        "tower": _tower(part(c, "eva_vit", {}), c.take("img_size", 224)),
        "qformer": qformer,
        "codes": _codes(c, num_queries, qformer["width"], bert),
    }
    c.done()
    return out


_END = r"(weight|bias)"
#: Layers of BLIP-2's Q-Former; the text's own MLPs (`intermediate`, `output`) are never used.
_QFORMER_LAYER_KEYS = (
    (r"attention\.self\.query\." + _END, "self_attention.q.{0}"),
    (r"attention\.self\.key\." + _END, "self_attention.k.{0}"),
    (r"attention\.self\.value\." + _END, "self_attention.v.{0}"),
    (r"attention\.output\.dense\." + _END, "self_attention.out.{0}"),
    (r"attention\.output\.LayerNorm\." + _END, "self_norm.{0}"),
    (r"crossattention\.self\.query\." + _END, "cross_attention.q.{0}"),
    (r"crossattention\.self\.key\." + _END, "cross_attention.k.{0}"),
    (r"crossattention\.self\.value\." + _END, "cross_attention.v.{0}"),
    (r"crossattention\.output\.dense\." + _END, "cross_attention.out.{0}"),
    (r"crossattention\.output\.LayerNorm\." + _END, "cross_norm.{0}"),
    (r"intermediate_query\.dense\." + _END, "mlp.0.{0}"),
    (r"output_query\.dense\." + _END, "mlp.2.{0}"),
    (r"output_query\.LayerNorm\." + _END, "mlp_norm.{0}"),
)
_QFORMER_UNUSED = r"\.(?:cls\..*|bert\.embeddings\.(?:position_ids|word_embeddings.*|position_embeddings.*)|"
_QFORMER_UNUSED += r"bert\.encoder\.layer\.\d+\.(?:intermediate|output)\..*)"


def _qformer_table(old: str, queries: str, new: str) -> list[tuple[str, str]]:
    return [
        *under(rf"{old}\.bert\.encoder\.layer\.(\d+)\.", rf"{new}layers.\1.", _QFORMER_LAYER_KEYS),
        (rf"{old}\.bert\.embeddings\.LayerNorm\.{_END}", rf"{new}norm_in.\1"),
        (queries, f"{new}queries"),
    ]


_CODES_TABLE = [
    (r"quantize\.embedding\.weight", "quantizer.codebook.embed"),
    (rf"encode_task_layer\.([02])\.{_END}", r"to_code.\1.\2"),
    (rf"decode_task_layer\.([02])\.{_END}", r"from_code.\1.\2"),
    ("pos_embed_image", "head.positions"),
    *under(r"blocks_image\.(\d+)\.", r"head.blocks.\1.", TIMM_BLOCK_KEYS),
    (r"image_down\.([024])\.weight", r"head.down.\1.weight"),
    (rf"distill_image_proj\.{_END}", r"head.proj.\1"),
    *_qformer_table("Reverse_Qformer", "reverse_tokens", "head.reverse."),
]
_TABLE = [
    *((old, "codes." + new) for old, new in _CODES_TABLE),
    *under(r"visual_encoder\.blocks\.(\d+)\.", r"tower.blocks.\1.", TIMM_BLOCK_KEYS),
    (r"visual_encoder\.blocks\.(\d+)\.gamma_1", r"tower.blocks.\1.attention_scale"),
    (r"visual_encoder\.blocks\.(\d+)\.gamma_2", r"tower.blocks.\1.mlp_scale"),
    (rf"visual_encoder\.patch_embed\.proj\.{_END}", r"tower.patch_embed.\1"),
    (r"visual_encoder\.cls_token", "tower.class_token"),
    (r"visual_encoder\.pos_embed", "tower.positions"),
    (rf"ln_vision\.{_END}", r"tower_norm.\1"),
    *_qformer_table("Qformer", "query_tokens", "qformer."),
]
_DROPPED = (
    "pos_embed",
    r"blocks\.\d+\..*",  # the second head, recon_s
    r"pos_embed_text|reverse_tokens_text|(?:blocks_text|Reverse_Qformer_text|distill_text_proj)\..*",  # the training class's third
    "(?:Reverse_)?Qformer" + _QFORMER_UNUSED,
)
#: Tables that the authors keep with axes of length 1 in front.
_FLAT = ("tower.class_token", "tower.positions", "qformer.queries", "head.positions", "head.reverse.queries")


def _renamed(state: dict[str, Tensor], table: list[tuple[str, str]], *, dropped: tuple[str, ...] = ()) -> dict[str, Tensor]:
    out = rename(join_query_value_bias(unwrap(state, "model", "state_dict")), table, dropped=_DROPPED + dropped)
    return {k: v.flatten(0, -2) if k.removeprefix("codes.") in _FLAT else v for k, v in out.items()}


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    depth, behind = _config(config)["tower"]["layers"], r"visual_encoder\.(?:norm|fc_norm|head)\..*"
    out = _renamed(state, _TABLE, dropped=(behind,))
    # EVA-CLIP-g is published with its last block, which the authors' tower does not have
    return {k: v for k, v in out.items() if not k.startswith("tower.blocks.") or int(k.split(".")[2]) < depth}


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="seed2",
        upstream="AILab-CVC/SEED models/seed_qformer/qformer_quantizer.py Blip2QformerQuantizer",
        family="seed2",
        config=_config,
        weights=_weights,
    ),
    Converter(
        system="seed2-quantizer",
        upstream="AILab-CVC/SEED models/seed_qformer/qformer_quantizer.py Blip2QformerQuantizer, quantizer part",
        family="seed2_codes",
        config=_codes_config,
        weights=lambda state, config: _renamed(state, _CODES_TABLE),
    ),
)
