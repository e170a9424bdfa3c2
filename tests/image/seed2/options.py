"""SEED's second tokenizer, whole and behind its Q-Former."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_TOWER = {"patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2, "mlp_ratio": 2.0}
_BERT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 16,
    "max_position_embeddings": 16, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
}  # fmt: skip
#: Of the codes: what the heads that are not here, and the class that trains, add.
_HEADS = {
    "pos_embed": torch.ones(1, 4, 24), "blocks.0.norm1.weight": torch.ones(24), "pos_embed_text": torch.ones(1, 4, 24),
    "blocks_text.0.attn.qkv.bias": torch.ones(6), "reverse_tokens_text": torch.ones(1, 77, 24), "distill_text_proj.bias": torch.ones(3),
    "Reverse_Qformer_text.bert.embeddings.LayerNorm.weight": torch.ones(24),
    "text_encoder.transformer.text_model.embeddings.position_ids": torch.arange(3),
}  # fmt: skip


def _published(state: dict) -> dict:
    """`seed_quantizer.pt`, and EVA-CLIP-g with a last block that the tower lacks."""
    return state | _HEADS | {
        "Qformer.bert.embeddings.position_ids": torch.arange(16)[None], "Qformer.cls.predictions.bias": torch.ones(16),
        "Qformer.bert.embeddings.word_embeddings.weight": torch.ones(16, 24),
        "Qformer.bert.encoder.layer.0.intermediate.dense.bias": torch.ones(16),
        "Qformer.bert.encoder.layer.1.output.LayerNorm.bias": torch.ones(24),
        "visual_encoder.blocks.39.attn.q_bias": torch.ones(8), "visual_encoder.blocks.39.attn.v_bias": torch.ones(8),
        "visual_encoder.blocks.39.norm1.weight": torch.ones(8), "visual_encoder.norm.weight": torch.ones(8),
        "visual_encoder.head.weight": torch.ones(3, 8),
    }  # fmt: skip


def _enliven(tok: Any) -> None:
    """Latents as wide apart as the codes."""
    with torch.no_grad():
        getattr(tok, "codes", tok).to_code[2].weight.mul_(4)


def _write(tok: Any) -> dict:
    """Keys of the tower's attention have no bias there; one would add the same to all scores of a query."""
    from tokenzoo.zoo.convert import converter

    with torch.no_grad():
        for block in tok.tower.blocks:
            block.attention.qkv.bias.chunk(3)[1].zero_()
    return converter("seed2").write(tok.state_dict(), tok.config)


SWEEPS = {
    "seed2": Sweep(
        # nothing is published beside the weights: their sizes are the class's defaults, EVA-CLIP-g's and BERT-base's
        tiny={
            "img_size": 8, "num_query_token": 4, "codebook_embed_dim": 6, "n_embed": 16, "decode_depth": 1, "image_features_dim": 5,
            "eva_vit": _TOWER, "bert": _BERT,
        },
        options={
            "as it is": {},
            "32 causal queries": {"num_query_token": 32},
            "their number by default": {"num_query_token": DROP},
            "all that the loader passes": {"vit_model": "eva_clip_g", "drop_path_rate": 0, "use_grad_checkpoint": False,
                                           "vit_precision": "fp16", "freeze_vit": True, "cross_attention_freq": 2, "max_txt_len": 32},
            "an embedding through a reversed Q-Former": {"use_qformer_image": True},
            "no second head": {"recon_s": False, "use_recon_s_for_image": False},
            "gains in the tower": {"eva_vit": {"init_values": 0.1}},
            "two layers in the tower": {"eva_vit": {"depth": 2}},
            "another patch": {"eva_vit": {"patch_size": 2, "qkv_bias": True}},
            "three layers of queries": {"bert": {"num_hidden_layers": 3}},
            "a larger epsilon": {"bert": {"layer_norm_eps": 1e-5}},
            "a deeper head": {"decode_depth": 2, "num_heads": 4},
            "12 heads by default": {"num_heads": DROP},
            "a wide code": {"codebook_embed_dim": 32},
        },
        refused={
            "another tower": ({"vit_model": "clip_L"}, "eva_clip_g"),
            "no head for pictures": ({"blocks_for_image": False}, "blocks_for_image"),
            "relative positions": ({"eva_vit": {"use_rel_pos_bias": True}}, "use_rel_pos_bias"),
            "another activation": ({"bert": {"hidden_act": "relu"}}, "hidden_act"),
            "a misspelt key": ({"n_embeds": 16}, "n_embed"),
        },
        enliven=_enliven,
        published=_published,
        write=_write,
    ),
    "seed2-quantizer": Sweep(
        tiny={
            "num_query_token": 4, "codebook_embed_dim": 6, "n_embed": 16, "decode_depth": 1, "image_features_dim": 5,
            "qformer_hidden_size": 24, "num_heads": 2,
        },
        options={
            "as it is": {},
            "12 heads by default": {"num_heads": DROP},
            "a reversed Q-Former": {"use_qformer_image": True,
                                    "bert": {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}},
            "its causal sister has no say": {"use_qformer_image": True, "num_query_token": 32,
                                             "bert": {"num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 8}},
            "two blocks": {"decode_depth": 2},
            "four by default": {"decode_depth": DROP},
            "no blocks": {"decode_depth": 0},
            "32 by default": {"num_query_token": DROP},
            "a wide code": {"codebook_embed_dim": 40},
            "32 wide by default": {"codebook_embed_dim": DROP},
            "more codes": {"n_embed": 50},
            "no second head": {"recon_s": False},
            "a wide embedding": {"image_features_dim": 64},
            "another width": {"qformer_hidden_size": 12},
        },
        refused={"no head for pictures": ({"blocks_for_image": False}, "blocks_for_image")},
        enliven=_enliven,
        published=lambda state: {"model": state | _HEADS},
    ),
}  # fmt: skip
