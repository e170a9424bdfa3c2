"""Chameleon's VQGAN in transformers' layout."""

from typing import Any

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from peers import peer_of

_OLD = {"ch": 32, "ch_mult": [1, 2], "n_embed": 24, "z_channels": 8, "double_z": False, "out_ch": 3, "out_channels": 3}


def _ids(module: Any, x: torch.Tensor) -> torch.Tensor:
    return module.encode(x, return_dict=True).image_tokens.view(len(x), 1, -1)


def _peer(config: dict[str, Any]) -> Any:
    """transformers' class has no decoder, and takes none of our keys or those of older files."""
    if "ch" in config or "decoder" in config:
        return None
    return peer_of("transformers", "ChameleonVQVAE", "ChameleonVQVAEConfig", _ids)(config)


SWEEPS = {
    "chameleon_vqgan-hf": Sweep(
        tiny={
            "model_type": "chameleon_vqgan", "attn_resolutions": [], "attn_type": "vanilla", "base_channels": 32,
            "channel_multiplier": [1, 2], "double_latent": False, "dropout": 0.0, "embed_dim": 6, "in_channels": 3,
            "initializer_range": 0.02, "latent_channels": 8, "num_embeddings": 24, "num_res_blocks": 1, "resolution": 16,
        },
        options={
            "as it is": {},
            "attention at a level": {"attn_resolutions": [8]},
            "attention nowhere": {"attn_type": "none", "attn_resolutions": [8]},
            "no list of resolutions": {"attn_resolutions": None},
            "three levels": {"channel_multiplier": [1, 1, 2]},
            "two blocks a level": {"num_res_blocks": 2},
            "default blocks": {"num_res_blocks": DROP},
            "other codes": {"num_embeddings": 10, "embed_dim": 3},
            "another latent": {"latent_channels": 5},
            "default resolution": {"resolution": DROP},
            "dropout": {"dropout": 0.1},
            "with a decoder, as Anole's copies": _OLD | {"quant_state_dims": [4, 4], "resolution": 16},
            "with a decoder, as our key says": {"decoder": True, "attn_resolutions": [8]},
            "older names beside today's": _OLD,
            "older names alone": _OLD | {k: DROP for k in ("base_channels", "channel_multiplier", "num_embeddings", "latent_channels")},
        },
        refused={
            "moments": ({"double_latent": True}, "double_latent"),
            "two names that differ": ({"ch": 64}, "two names of one setting"),
            "grey pictures": ({"in_channels": 1}, "in_channels"),
        },
        cards={"anole-vqvae": _OLD | {"quant_state_dims": [4, 4]}},
        enliven=enliven,
        peer=_peer,
    )
}  # fmt: skip
