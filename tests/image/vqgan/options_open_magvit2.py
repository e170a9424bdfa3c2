"""Open-MAGVIT2, whose plan WeTok and BitDance share."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import lightning_average

DD = {
    "double_z": False, "z_channels": 10, "resolution": 16, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2],
    "num_res_blocks": 1,
}  # fmt: skip
STACKS = {
    "as it is": {},
    "three levels": {"ddconfig": {"ch_mult": [1, 1, 2]}},
    "default multipliers": {"ddconfig": {"ch_mult": DROP}},
    "a first level wider than the stem": {"ddconfig": {"ch_mult": [2, 3]}},
    "two blocks a level": {"ddconfig": {"num_res_blocks": 2}},
    "no resolution": {"ddconfig": {"resolution": DROP}},
    "a wider stem": {"ddconfig": {"ch": 64}},
}
REFUSED = {
    "grey pictures": ({"ddconfig": {"in_channels": 1}}, "in_channels"),
    "a misspelt key": ({"ddconfig": {"z_channel": 4}}, "z_channels"),
}


def published(state: dict) -> dict:
    """Averaged weights beside raw ones, and tables computed from the number of bits."""
    out = lightning_average(state)
    tables = {"quantize.mask": torch.ones(10), "quantize.codebook": torch.ones(4, 10), "quantize.zero": torch.zeros(())}
    return out | {"state_dict": out["state_dict"] | tables}


SWEEPS = {
    "open-magvit2": Sweep(
        tiny={"ddconfig": DD, "n_embed": 1024, "embed_dim": 10, "use_ema": True},
        options=STACKS
        | {
            "two factors": {"token_factorization": True, "factorized_bits": [4, 6]},
            "factors that are not used": {"token_factorization": False, "factorized_bits": [9, 9]},
            "other weights of the entropy": {"sample_minimization_weight": 0.5, "batch_maximization_weight": 2.0},
            "no entropy": {"sample_minimization_weight": 0.0},
            "more bits than one id holds": {"n_embed": 2**20, "embed_dim": 20, "ddconfig": {"z_channels": 20}},
            "of a training run's YAML": {"learning_rate": 1e-4, "scheduler_type": "None", "resume_lr": None, "lossconfig": {}},
        },
        refused=REFUSED
        | {
            "no power of two": ({"n_embed": 1000}, "power of two"),
            "other width": ({"embed_dim": 8}, "embed_dim"),
            "factors that do not add up": ({"token_factorization": True, "factorized_bits": [4, 4]}, "add up"),
        },
        enliven=enliven,
        published=published,
    )
}
