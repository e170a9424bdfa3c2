"""Apertus 1.5's vision tokenizer."""

from typing import Any

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from peers import peer_of


def _ids(module: Any, x: torch.Tensor) -> torch.Tensor:
    return module.encode(x).image_tokens.flatten(1)[:, None]


SWEEPS = {
    "apertus1p5_vision_tokenizer-hf": Sweep(
        tiny={
            "model_type": "apertus1p5_vision_tokenizer", "attn_resolutions": [8], "base_channels": 32, "channel_multiplier": [1, 2],
            "codebook_size": 24, "dropout": 0.0, "embed_dim": 6, "in_channels": 3, "latent_channels": 8, "num_res_blocks": 1,
            "resolution": 16, "spatial_scale_factor": 2,
        },
        options={
            "as it is": {},
            "attention at both levels": {"attn_resolutions": [8, 16]},
            "attention in the middle alone": {"attn_resolutions": []},
            "three levels": {"channel_multiplier": [1, 1, 2], "attn_resolutions": [4], "spatial_scale_factor": 4},
            "a first level wider than the stem": {"channel_multiplier": [2, 3]},
            "two blocks a level": {"num_res_blocks": 2},
            "other codes": {"codebook_size": 10, "embed_dim": 3},
            "another latent": {"latent_channels": 5},
            "dropout": {"dropout": 0.1},
            "default resolutions": {"resolution": DROP, "attn_resolutions": DROP},
            "no factor said": {"spatial_scale_factor": DROP},
            "a saved file's keys": {"architectures": ["Apertus1p5VisionTokenizerModel"], "dtype": "float32"},
        },
        refused={"grey pictures": ({"in_channels": 1}, "in_channels")},
        enliven=enliven,
        peer=peer_of("transformers", "Apertus1p5VisionTokenizerModel", "Apertus1p5VisionTokenizerConfig", _ids),
    )
}  # fmt: skip
