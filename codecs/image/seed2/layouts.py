"""SEED's second tokenizer, whole or from the Q-Former's features on (AILab-CVC/SEED @ 93b3cf4081, models/seed_qformer/).

The authors load EVA-CLIP-g and bert-base-uncased by name; other sizes are read from the keys `eva_vit` and `bert`, which are ours.
"""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config, part
from ...layouts.fields import TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, Unwrap, under, without_ones
from ...layouts.layout import Layout
from ...layouts.vit_keys import TIMM_BLOCK, query_value_bias
from .codes import Seed2CodesConfig
from .model import Seed2Config


def _qformer(values: Mapping[str, Any], name: str, *, causal: bool) -> dict[str, Any]:
    """A BERT config to a Q-Former; every second layer attends to the picture, whatever `cross_attention_freq` is."""
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
    c.take("recon_s", True)  # a second head, which is unused here
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
            "commitment_weight": 1.0,  # the authors' beta weighs the codebook term ("legacy")
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
    # The authors' BERT has a causal mask if and only if there are 32 queries.
    qformer = _qformer(bert, "seed2.bert", causal=num_queries == 32)
    out = {
        "tower": _tower(part(c, "eva_vit", {}), c.take("img_size", 224)),
        "qformer": qformer,
        "codes": _codes(c, num_queries, qformer["width"], bert),
    }
    c.done()
    return out


#: Layers of BLIP-2's Q-Former; the MLPs for text (`intermediate`, `output`) are unused.
_QFORMER_LAYER: tuple[Row, ...] = (
    ("attention.self.query.*", "self_attention.q.*"),
    ("attention.self.key.*", "self_attention.k.*"),
    ("attention.self.value.*", "self_attention.v.*"),
    ("attention.output.dense.*", "self_attention.out.*"),
    ("attention.output.LayerNorm.*", "self_norm.*"),
    ("crossattention.self.query.*", "cross_attention.q.*"),
    ("crossattention.self.key.*", "cross_attention.k.*"),
    ("crossattention.self.value.*", "cross_attention.v.*"),
    ("crossattention.output.dense.*", "cross_attention.out.*"),
    ("crossattention.output.LayerNorm.*", "cross_norm.*"),
    ("intermediate_query.dense.*", "mlp.0.*"),
    ("output_query.dense.*", "mlp.2.*"),
    ("output_query.LayerNorm.*", "mlp_norm.*"),
)


def _qformer_rows(theirs: str, queries: str, ours: str) -> list[Row]:
    return [
        *under(f"{theirs}.bert.encoder.layer.{{}}.", f"{ours}layers.{{}}.", _QFORMER_LAYER),
        (f"{theirs}.bert.embeddings.LayerNorm.*", f"{ours}norm_in.*"),
        (queries, f"{ours}queries"),
    ]


_CODES: tuple[Row, ...] = (
    ("quantize.embedding.weight", "quantizer.codebook.embed"),
    ("encode_task_layer.{}.*", "to_code.{}.*"),
    ("decode_task_layer.{}.*", "from_code.{}.*"),
    ("pos_embed_image", "head.positions"),
    *under("blocks_image.{}.", "head.blocks.{}.", TIMM_BLOCK),
    ("image_down.{}.weight", "head.down.{}.weight"),
    ("distill_image_proj.*", "head.proj.*"),
    *_qformer_rows("Reverse_Qformer", "reverse_tokens", "head.reverse."),
)
_ROWS: tuple[Row, ...] = (
    *under("", "codes.", _CODES),
    *under("visual_encoder.blocks.{}.", "tower.blocks.{}.", TIMM_BLOCK),
    ("visual_encoder.blocks.{}.gamma_1", "tower.blocks.{}.attention_scale"),
    ("visual_encoder.blocks.{}.gamma_2", "tower.blocks.{}.mlp_scale"),
    ("visual_encoder.patch_embed.proj.*", "tower.patch_embed.*"),
    ("visual_encoder.cls_token", "tower.class_token"),
    ("visual_encoder.pos_embed", "tower.positions"),
    ("ln_vision.*", "tower_norm.*"),
    *_qformer_rows("Qformer", "query_tokens", "qformer."),
)
_BERT = "[Qformer|Reverse_Qformer]"
_DROPPED = (
    "pos_embed",
    "blocks.{}.**",  # the second head, recon_s
    "[pos_embed_text|reverse_tokens_text]",  # the third head, for texts, of the class for training
    "[blocks_text|Reverse_Qformer_text|distill_text_proj|text_encoder].**",
    _BERT + ".cls.**",
    _BERT + ".bert.embeddings.[position_ids|word_embeddings.weight|position_embeddings.weight]",
    _BERT + ".bert.encoder.layer.{}.[intermediate|output].**",
    "visual_encoder.[norm|fc_norm|head].**",
)


def _first_blocks(count: int) -> Then:
    """Drop the last block of EVA-CLIP-g, which its published file has and the authors' tower does not."""
    stem = "visual_encoder.blocks."

    def read(state: State) -> State:
        return {k: v for k, v in state.items() if not k.startswith(stem) or int(k[len(stem) :].split(".")[0]) < count}

    return Then(read, lambda state: state)


def _keys(own: Seed2Config) -> KeyMap:
    return KeyMap(
        Unwrap("model", "state_dict"),
        _first_blocks(own.tower.layers),
        query_value_bias("visual_encoder.blocks.{}.attn."),
        Rename(_ROWS, also_drop=_DROPPED),
        without_ones("tower.class_token", "tower.positions", "qformer.queries"),
        without_ones("codes.head.positions", "codes.head.reverse.queries"),
    )


def _codes_keys(own: Seed2CodesConfig) -> KeyMap:
    return KeyMap(
        Unwrap("model", "state_dict"),
        Rename(_CODES, also_drop=_DROPPED),
        without_ones("head.positions", "head.reverse.queries"),
    )


LAYOUTS = (
    Layout(
        system="seed2",
        upstream="AILab-CVC/SEED models/seed_qformer/qformer_quantizer.py Blip2QformerQuantizer",
        family="seed2",
        config=_config,
        keys=_keys,
    ),
    Layout(
        system="seed2-quantizer",
        upstream="AILab-CVC/SEED models/seed_qformer/qformer_quantizer.py Blip2QformerQuantizer, quantizer part",
        family="seed2_codes",
        config=_codes_config,
        keys=_codes_keys,
    ),
)
