"""Cosmos' discrete picture tokenizers, published as TorchScript."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep


def _published(state: dict) -> dict:
    """Weights in bfloat16, with what TorchScript keeps of the patches and the quantizer."""
    half = {k: v.to(torch.bfloat16) for k, v in state.items()}
    filters = {"encoder.patcher.wavelets": torch.ones(2), "decoder.unpatcher.wavelets": torch.ones(2)}
    return half | filters | {"quantizer._levels": torch.ones(6), "inv_quant.quantizer._basis": torch.ones(6)}


_VQ = {"quantizer": "VQ", "levels": DROP, "num_embeddings": 24, "beta": 0.25, "use_norm": False, "legacy": True}

SWEEPS = {
    "cosmos-di": Sweep(
        tiny={
            "attn_resolutions": [4], "channels": 32, "channels_mult": [1, 2], "dropout": 0.0, "in_channels": 3,
            "spatial_compression": 4, "num_res_blocks": 1, "out_channels": 3, "resolution": 16, "patch_size": 2, "patch_method": "haar",
            "z_channels": 8, "quantizer": "FSQ", "embedding_dim": 3, "levels": [8, 5, 3],
        },
        options={
            "as it is": {},
            "patches of 4": {"patch_size": 4, "spatial_compression": 8},
            "patches folded": {"patch_method": "rearrange"},
            "folded by default": {"patch_method": DROP},
            "no patches": {"patch_size": DROP, "spatial_compression": 2},
            "halved at the last level too": {"spatial_compression": 8, "channels_mult": [1, 1, 2]},
            "attention at two levels": {"attn_resolutions": [4, 8]},
            "attention in the middle alone": {"attn_resolutions": []},
            "three levels": {"channels_mult": [1, 1, 2]},
            "two blocks a level": {"num_res_blocks": 2},
            "other levels of the code": {"levels": [4, 4], "embedding_dim": 2},
            "one table": _VQ,
            "what the authors hand on": {
                "num_quantizers": 4, "z_factor": 1, "name": "DI", "encoder": "Default", "decoder": "Default",
                "persistent_quantizer": False,
            },
            "default dropout": {"dropout": DROP},
        },
        refused={
            "another encoder": ({"encoder": "LiteVAE"}, "encoder"),
            "another quantizer": ({"quantizer": "LFQ"}, "LFQ"),
            "a residual one by default": ({"quantizer": DROP}, "RESFSQ"),
            "a table looked up by angle": (_VQ | {"use_norm": True}, "use_norm"),
        },
        enliven=enliven,
        published=_published,
    )
}  # fmt: skip
