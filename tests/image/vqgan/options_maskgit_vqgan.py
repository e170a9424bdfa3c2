"""The MaskGIT-VQGAN."""

from image_cases import enliven
from layout_options import DROP, Sweep

SWEEPS = {
    "maskgit-vqgan": Sweep(
        tiny={
            "channel_mult": [1, 2], "num_resolutions": 2, "dropout": 0.0, "hidden_channels": 32, "num_channels": 3, "num_res_blocks": 1,
            "resolution": 16, "z_channels": 8, "num_embeddings": 24, "embedding_dim": 8, "commitment_cost": 0.25,
        },
        options={
            "as it is": {},
            "number of levels by default": {"num_resolutions": DROP},
            "three levels": {"channel_mult": [1, 1, 2], "num_resolutions": 3},
            "a first level wider than the stem": {"channel_mult": [2, 3]},
            "two blocks a level": {"num_res_blocks": 2},
            "three blocks a level": {"num_res_blocks": 3},
            "default blocks": {"num_res_blocks": DROP},
            "other codes": {"num_embeddings": 10},
            "another latent": {"z_channels": 5, "embedding_dim": 5},
            "dropout": {"dropout": 0.1},
            "another commitment": {"commitment_cost": 1.0},
            "no resolution": {"resolution": DROP},
            "a wider stem": {"hidden_channels": 64},
        },
        refused={
            "levels that disagree": ({"num_resolutions": 3}, "num_resolutions"),
            "codes of another width": ({"embedding_dim": 4}, "must be equal"),
            "grey pictures": ({"num_channels": 1}, "num_channels"),
        },
        enliven=enliven,
    )
}  # fmt: skip
