"""Paella's VQGAN in diffusers' layout."""

from typing import Any

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from peers import peer_of


def _ids(module: Any, x: torch.Tensor) -> torch.Tensor:
    return module.vquantizer(module.encode(x).latents)[2][2].view(len(x), 1, -1)


SWEEPS = {
    "paella-vq": Sweep(
        tiny={
            "_class_name": "PaellaVQModel", "_diffusers_version": "0.21.0.dev0", "bottleneck_blocks": 1, "embed_dim": 8,
            "in_channels": 3, "latent_channels": 4, "levels": 2, "num_vq_embeddings": 24, "out_channels": 3, "scale_factor": 0.3764,
            "up_down_scale_factor": 2,
        },
        options={
            "as it is": {},
            "three blocks": {"bottleneck_blocks": 3},
            "twelve blocks by default": {"bottleneck_blocks": DROP},
            "one level": {"levels": 1},
            "three levels": {"levels": 3},
            "two levels by default": {"levels": DROP},
            "wider": {"embed_dim": 16},
            "other codes": {"num_vq_embeddings": 10},
            "8192 codes by default": {"num_vq_embeddings": DROP},
            "another latent": {"latent_channels": 3},
            "its default": {"latent_channels": DROP},
            "folded four by four": {"up_down_scale_factor": 4},
            "not folded": {"up_down_scale_factor": 1},
            "no factor of the diffusion model": {"scale_factor": DROP},
        },
        refused={
            "grey pictures": ({"in_channels": 1}, "in_channels"),
            "an odd width": ({"embed_dim": 7}, "width"),
        },
        enliven=enliven,
        peer=peer_of("diffusers.pipelines.deprecated.wuerstchen", "PaellaVQModel", "", _ids),
    )
}  # fmt: skip
