"""Cosmos' discrete video tokenizers, published as TorchScript."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep


def _published(state: dict) -> dict:
    """Weights in bfloat16, with what TorchScript keeps of patches and quantizer, and a convolution of a step that is not taken."""
    half = {k: v.to(torch.bfloat16) for k, v in state.items()}
    step = "encoder.down.1.downsample"  # halves space alone in the form "more of space"
    unused = f"{step}.conv3.conv3d.weight" in state and f"{step}.conv2.conv3d.weight" not in state
    half |= {f"{step}.conv2.conv3d.weight": torch.ones(4, 4, 3, 1, 1)} if unused else {}
    filters = {"encoder.patcher3d.wavelets": torch.ones(2), "decoder.unpatcher3d.wavelets": torch.ones(2)}
    return half | filters | {"quantizer._levels": torch.ones(3), "inv_quant.quantizer._basis": torch.ones(3)}


_THREE = {"channels_mult": [1, 1, 1], "attn_resolutions": []}

SWEEPS = {
    "cosmos-dv": Sweep(
        tiny={
            "attn_resolutions": [], "channels": 4, "channels_mult": [1, 2], "dropout": 0.0, "in_channels": 3, "num_res_blocks": 1,
            "out_channels": 3, "resolution": 16, "patch_size": 2, "patch_method": "haar", "z_channels": 4, "z_factor": 1,
            "num_groups": 1, "legacy_mode": False, "spatial_compression": 4, "temporal_compression": 2, "quantizer": "FSQ",
            "embedding_dim": 3, "levels": [8, 5, 3], "encoder": "FACTORIZED", "decoder": "FACTORIZED", "name": "DV",
        },
        options={
            "as it is": {},
            "as much of time": _THREE | {"temporal_compression": 4},
            "more of space": _THREE | {"spatial_compression": 8, "temporal_compression": 4},
            "frames doubled at once": {"legacy_mode": True, "temporal_compression": 4},
            "in order by default": _THREE | {"legacy_mode": DROP, "temporal_compression": 4},
            "16 pixels by default": _THREE | {"patch_size": 4, "spatial_compression": DROP, "temporal_compression": 8},
            "8 frames by default": _THREE | {"patch_size": 4, "spatial_compression": 8, "temporal_compression": DROP},
            "attention at the coarse level": {"attn_resolutions": [4]},
            "attention everywhere": {"attn_resolutions": [4, 8]},
            "two blocks a level": {"num_res_blocks": 2},
            "other levels of the code": {"levels": [5, 5], "embedding_dim": 2},
            "a wider latent": {"z_channels": 6},
            "another width": {"channels": 6, "channels_mult": [2, 1]},
            "what the authors hand on": {"name": DROP, "num_groups": DROP, "persistent_quantizer": False, "num_quantizers": 4},
        },
        shape=(5, 3, 16, 32),
        refused={
            "the class that is not factorised": ({"encoder": "BASE"}, "encoder"),
            "its decoder by default": ({"decoder": DROP}, "decoder"),
            "another quantizer": ({"quantizer": "VQ"}, "quantizer"),
            "patches that are folded": ({"patch_method": DROP}, "patch_method"),
            "a code of another width": ({"embedding_dim": 4}, "number of levels 3"),
            "a latent in two parts": ({"z_factor": 2}, "z_factor"),
            "frames that do not come back": ({"temporal_compression": 4}, "halves"),
        },
        enliven=enliven,
        published=_published,
    )
}  # fmt: skip
