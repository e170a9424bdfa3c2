"""GLM-Image's picture tokens in transformers' layout."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from peers import Peer

_TEXT = {
    "vocab_size": 80, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
    "num_key_value_heads": 1, "max_position_embeddings": 64, "pad_token_id": 1, "eos_token_id": 2, "vision_vocab_size": 72,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "partial_rotary_factor": 1.0},
}  # fmt: skip


def _vision(**change) -> dict:
    return {"vision_config": change}


def _published(state: dict) -> dict:
    """A whole model: a map that nothing calls, and the language model."""
    more = {
        "model.vqmodel.post_quant_conv.weight": torch.ones(2, 2, 1, 1), "model.vqmodel.post_quant_conv.bias": torch.ones(2),
        "model.language_model.embed_tokens.weight": torch.ones(3, 2), "lm_head.weight": torch.ones(3, 2),
    }  # fmt: skip
    return more | state


def _ids(module: Any, x: torch.Tensor) -> torch.Tensor:
    """Ids [B, 1, L] of pictures in 0..1, as the processor hands them over: normalised, cut into patches."""
    from tokenzoo.codecs.layers.vision_tower import CLIP_MEAN, CLIP_STD

    p = module.config.vision_config.patch_size
    mean, std = (torch.tensor(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    y = ((x - mean) / std).unfold(2, p, p).unfold(3, p, p)  # [B, 3, h, w, p, p]
    (b, _, h, w), patches = y.shape[:4], y.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
    features = module.model.get_image_features(patches, torch.tensor([[1, h, w]] * b)).pooler_output
    return module.model.get_image_tokens(features).view(b, 1, h * w)


def _peer(config: dict) -> Peer | None:
    try:
        from transformers import GlmImageConfig, GlmImageForConditionalGeneration
    except ImportError:
        return None
    torch.manual_seed(0)
    values = {k: v for k, v in config.items() if k not in ("architectures", "transformers_version", "dtype")}
    return Peer(GlmImageForConditionalGeneration._from_config(GlmImageConfig(**values), attn_implementation="eager"), _ids)


SWEEPS = {
    "glm_image-hf": Sweep(
        tiny={
            "architectures": ["GlmImageForConditionalGeneration"], "dtype": "float32", "model_type": "glm_image",
            "image_end_token_id": 65, "image_start_token_id": 64, "image_token_id": 70, "tie_word_embeddings": False,
            "transformers_version": "5.24.0", "text_config": _TEXT,
            "vision_config": {
                "attention_bias": True, "attention_dropout": 0.0, "depth": 2, "hidden_act": "gelu", "hidden_size": 16, "image_size": 16,
                "in_channels": 3, "initializer_range": 0.3, "intermediate_size": 24, "layer_norm_eps": 1e-6,
                "model_type": "glm_image_vision", "num_heads": 2, "patch_size": 4, "spatial_merge_size": 1,
            },
            "vq_config": {
                "embed_dim": 12, "in_channels": 3, "initializer_range": 0.3, "latent_channels": 16, "model_type": "glm_image_vqmodel",
                "num_embeddings": 64,
            },
        },
        shape=(3, 16, 24),
        options={
            "as it is": {},
            "no bias in the attention": _vision(attention_bias=False),
            "a bias by default": _vision(attention_bias=DROP),
            "GELU of tanh": _vision(hidden_act="gelu_pytorch_tanh"),
            "SiLU": _vision(hidden_act="silu"),
            "ReLU": _vision(hidden_act="relu"),
            "CLIP's GELU": _vision(hidden_act="quick_gelu"),
            "GELU by default": _vision(hidden_act=DROP),
            "one layer": _vision(depth=1),
            "four heads": _vision(num_heads=4),
            "a wide MLP": _vision(intermediate_size=40),
            "another epsilon": _vision(layer_norm_eps=1e-3),
            "its default": _vision(layer_norm_eps=DROP, attention_dropout=DROP, spatial_merge_size=DROP),
            "a table of another size": _vision(image_size=36),
            "a table of one position": _vision(image_size=4),
            "another patch": _vision(patch_size=8),
            "other codes": {"vq_config": {"embed_dim": 20, "num_embeddings": 30}},
            "another width": {"vision_config": {"hidden_size": 24}, "vq_config": {"latent_channels": 24}},
            "older ways of saving": {"dtype": DROP, "torch_dtype": "bfloat16", "vision_config": {"torch_dtype": "bfloat16"}},
        },
        refused={
            "merged patches": (_vision(spatial_merge_size=2), "spatial_merge_size"),
            "grey pictures": (_vision(in_channels=1), "in_channels"),
            "widths that do not meet": ({"vq_config": {"latent_channels": 8}}, "latent_channels"),
            "an unknown activation": (_vision(hidden_act="mish"), "hidden_act"),
        },
        published=_published,
        peer=_peer,
    ),
}  # fmt: skip
