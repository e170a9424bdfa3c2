"""diffusers' VQModel: aMUSEd, Kandinsky's MoVQ, LDM's autoencoders."""

from typing import Any

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from peers import peer_of

_DOWN, _UP = "DownEncoderBlock2D", "UpDecoderBlock2D"


def _ids(module: Any, x: torch.Tensor) -> torch.Tensor:
    return module.quantize(module.encode(x).latents)[2][2].view(len(x), 1, -1)


_PEER = peer_of("diffusers", "VQModel", "", _ids, left_out=("value_range", "pipeline"))

STACKS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "attention at a level": {"down_block_types": [_DOWN, "Attn" + _DOWN], "up_block_types": ["Attn" + _UP, _UP]},
    "attention at two levels": {"down_block_types": ["Attn" + _DOWN] * 2, "up_block_types": ["Attn" + _UP] * 2},
    "attention in the encoder alone": {"down_block_types": [_DOWN, "Attn" + _DOWN]},
    "no attention": {"mid_block_add_attention": False},
    "default attention": {"mid_block_add_attention": DROP},
    "three levels": {"block_out_channels": [8, 8, 16], "down_block_types": [_DOWN] * 3, "up_block_types": [_UP] * 3},
    "one level, by default": {"block_out_channels": [16], "down_block_types": DROP, "up_block_types": DROP},
    "two blocks a level": {"layers_per_block": 2},
    "default blocks": {"layers_per_block": DROP},
    "other groups": {"norm_num_groups": 8},
    "GELU": {"act_fn": "gelu"},
    "swish": {"act_fn": "swish"},
    "mish": {"act_fn": "mish"},
    "ReLU": {"act_fn": "relu"},
}

SIZES: dict[str, Any] = {
    "act_fn": "silu", "block_out_channels": [8, 16], "down_block_types": [_DOWN] * 2, "up_block_types": [_UP] * 2, "in_channels": 3,
    "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 16, "mid_block_add_attention": True,
}  # fmt: skip

REFUSED = {
    "a block of another kind": ({"down_block_types": ["SkipDownBlock2D"] * 2}, "SkipDownBlock2D"),
    "grey pictures": ({"in_channels": 1}, "in_channels"),
    "another activation": ({"act_fn": "tanh"}, "act_fn"),
}

_WIDE = {"block_out_channels": [32, 32], "norm_num_groups": 32}

SWEEPS = {
    "diffusers-vqmodel": Sweep(
        tiny=SIZES
        | {
            "_class_name": "VQModel", "_diffusers_version": "0.17.0.dev0", "latent_channels": 4, "vq_embed_dim": 4,
            "num_vq_embeddings": 24, "scaling_factor": 0.18215, "norm_type": "group",
        },
        options=STACKS
        | {
            "norms under the code": {"norm_type": "spatial", **_WIDE},
            "group norms by default": {"norm_type": DROP},
            "code of another width": {"vq_embed_dim": 6},
            "code as wide as the latent": {"vq_embed_dim": None},
            "code as wide, by default": {"vq_embed_dim": DROP},
            "other codes": {"num_vq_embeddings": 10},
            "pixels in 0..1, by our key": {"value_range": [0.0, 1.0]},
            "as saved today": {"_name_or_path": "x", "force_upcast": False, "lookup_from_codebook": True},
        },
        refused=REFUSED
        | {
            "norms under a code of another width": ({"norm_type": "spatial", "vq_embed_dim": 6}, "vq_embed_dim"),
            "another norm": ({"norm_type": "layer"}, "norm_type"),
        },
        enliven=enliven,
        peer=_PEER,
    )
}  # fmt: skip
