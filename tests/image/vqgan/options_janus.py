"""Janus' VQ-16 in DeepSeek's files and in transformers' class."""

from typing import Any

import torch
from image.vqgan import options_llamagen as vq
from image_cases import enliven
from layout_options import DROP, Sweep
from peers import peer_of

_HF = {
    "model_type": "janus_vqgan", "base_channels": 32, "channel_multiplier": [1, 2], "double_latent": False, "dropout": 0.0,
    "embed_dim": 4, "hidden_act": "gelu", "image_token_embed_dim": 16, "in_channels": 3, "initializer_range": 0.02,
    "latent_channels": 8, "num_embeddings": 24, "num_hidden_layers": 2, "num_patches": 4, "num_res_blocks": 1, "out_channels": 3,
    "projection_dim": 16,
}  # fmt: skip


def _ids(module: Any, x: torch.Tensor) -> torch.Tensor:
    return module.encode(x, return_dict=True).image_tokens.view(len(x), 1, -1)


SWEEPS = {
    "janus-vq16": Sweep(
        tiny={
            "cls": "VQ-16", "model_type": "gen_vision", "params": {"image_token_size": 24, "n_embed": 4}, "arguments": vq.TINY,
        },
        options={k: {"arguments": v} for k, v in vq.OPTIONS.items() if k != "other codes"}
        | {
            "other codes": {
                "arguments": vq.OPTIONS["other codes"], "params": {"image_token_size": 10, "n_embed": 3},
            },
            "with what transformers adds": {"torch_dtype": "bfloat16", "_name_or_path": ""},
        },
        refused={
            "another class": ({"cls": "VQ-8"}, "cls"),
            "another number of codes": ({"params": {"image_token_size": 8}}, "image_token_size"),
        },
        enliven=enliven,
        published=lambda state: state | {"quantize.codebook_used": torch.zeros(65536)},
    ),
    "janus_vqgan-hf": Sweep(
        tiny=_HF,
        options={
            "as it is": {},
            "default number of patches": {"num_patches": DROP},
            "three levels": {"channel_multiplier": [1, 1, 2]},
            "a first level wider than the stem": {"channel_multiplier": [2, 3]},
            "two blocks a level": {"num_res_blocks": 2},
            "default blocks": {"num_res_blocks": DROP},
            "other codes": {"num_embeddings": 10, "embed_dim": 3},
            "another latent": {"latent_channels": 5},
            "dropout": {"dropout": 0.1},
            "a saved file's keys": {"architectures": ["JanusVQVAE"], "dtype": "float32", "transformers_version": "5.24.0"},
            "no keys of the language model": {"projection_dim": DROP, "image_token_embed_dim": DROP, "num_hidden_layers": DROP},
            "a wider stem": {"base_channels": 64},
        },
        refused={
            "moments": ({"double_latent": True}, "double_latent"),
            "grey pictures": ({"in_channels": 1}, "in_channels"),
        },
        enliven=enliven,
        peer=peer_of("transformers", "JanusVQVAE", "JanusVQVAEConfig", _ids),
    ),
}  # fmt: skip
