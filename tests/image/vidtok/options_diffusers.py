"""VidTok in diffusers, as `AutoencoderVidTok.save_pretrained` writes it."""

from typing import Any

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from peers import peer_of


def _ids(module: Any, x: torch.Tensor) -> torch.Tensor:
    return module.encode(x.transpose(1, 2))[1].flatten(1)[:, None]


_THREE = {"ch_mult": [1, 1, 1, 1], "tempo_ds": [0, 1, 2], "tempo_us": [1, 2, 3]}

SWEEPS = {
    "diffusers-autoencodervidtok": Sweep(
        tiny={
            "_class_name": "AutoencoderVidTok", "_diffusers_version": "0.42.1", "ch": 4, "ch_mult": [1, 2, 2], "codebook_size": 512,
            "double_z": False, "dropout": 0.0, "in_channels": 3, "is_causal": True, "num_res_blocks": 1, "out_channels": 3,
            "regularizer": "fsq", "spatial_ds": None, "spatial_us": None, "tempo_ds": None, "tempo_us": None, "z_channels": 3,
        },
        options={
            "as it is": {},
            "not causal": {"is_causal": False},
            "causal by default": {"is_causal": DROP},
            "8 frames a step": _THREE,
            "8 frames a step, not causal": _THREE | {"is_causal": False},
            "2 frames a step": {"tempo_ds": [1], "tempo_us": [2]},
            "2 frames at other levels": {"tempo_ds": [0], "tempo_us": [1]},
            "4 frames by default": {"tempo_ds": DROP, "tempo_us": DROP},
            "spatial levels as they are": {"spatial_ds": [0, 1], "spatial_us": [2, 1]},
            "spatial levels by default": {"spatial_ds": DROP, "spatial_us": DROP},
            "four levels": {"ch_mult": [1, 2, 1, 1]},
            "four widths by default": {"ch_mult": DROP},
            "two blocks a level": {"num_res_blocks": 2},
            "two blocks by default": {"num_res_blocks": DROP},
            "another width": {"ch": 6, "ch_mult": [2, 1, 1]},
            "128 channels by default": {"ch": DROP, "ch_mult": [1, 1, 1]},
            "longer codes": {"z_channels": 4, "codebook_size": 4096},
            "262144 codes by default": {"z_channels": 6, "codebook_size": DROP},
            "a size between two powers": {"codebook_size": 600},
            "dropout": {"dropout": 0.1},
        },
        shape=(16, 3, 16, 32),
        refused={
            "continuous latents": ({"regularizer": "kl", "double_z": True}, "regularizer"),
            "continuous latents by default": ({"regularizer": DROP}, "regularizer"),
            "moments": ({"double_z": True}, "double_z"),
            "grey frames": ({"in_channels": 1}, "in_channels"),
            "space kept at a level": ({"spatial_ds": [1]}, "spatial_ds"),
            "codes of another length": ({"codebook_size": 4096}, "8\\^3 = 512"),
            "a level that is not there": ({"tempo_ds": [2], "tempo_us": [1]}, "time_down"),
        },
        enliven=enliven,
        peer=peer_of("diffusers", "AutoencoderVidTok", "", _ids),
    )
}  # fmt: skip
