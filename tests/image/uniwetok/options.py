"""UniWeTok; a published file is a Lightning checkpoint, whose averages the authors' loader takes."""

import torch
from layout_options import DROP, Sweep


def _published(state: dict) -> dict:
    averages = {"model_ema." + k.replace(".", ""): v for k, v in state.items()}
    raw = {k: torch.randn_like(v) for k, v in state.items()}
    counters = {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(10)}
    training = {"loss.discriminator.main.0.weight": torch.randn(4, 3, 4, 4), "quantize.mask": torch.ones(16)}
    return {"state_dict": {**raw, **averages, **counters, **training}, "epoch": 3, "global_step": 10}


SWEEPS = {
    "uniwetok": Sweep(
        tiny={
            "ddconfig": {
                "double_z": False, "z_channels": 16, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1],
                "num_res_blocks": 1, "attn_blocks": 1, "n_heads": 2,
            },
            "gan_decoder": True,
        },
        options={
            "as it is": {},
            "gan_decoder by default": {"gan_decoder": DROP},
            "32 bits": {"ddconfig": {"z_channels": 32}},
            "8 bits": {"ddconfig": {"z_channels": 8}},
            "three levels": {"ddconfig": {"ch_mult": [1, 1, 1]}},
            "widths that grow": {"ddconfig": {"ch_mult": [1, 2]}},
            "two blocks a level": {"ddconfig": {"num_res_blocks": 2}},
            "no attention": {"ddconfig": {"attn_blocks": 0}},
            "two blocks of attention": {"ddconfig": {"attn_blocks": 2}},
            "two by default": {"ddconfig": {"attn_blocks": DROP}},
            "four heads": {"ddconfig": {"n_heads": 4}},
            "another resolution": {"ddconfig": {"resolution": 512}},
            "no resolution": {"ddconfig": {"resolution": DROP, "double_z": DROP}},
            "where its weights lay": {"checkpoint": "uniwetok.ckpt"},
        },
        refused={
            "without a generative decoder": ({"gan_decoder": False}, "gan_decoder"),
            "grey pictures": ({"ddconfig": {"in_channels": 1}}, "in_channels"),
            "a misspelt key": ({"ddconfig": {"attn_block": 1}}, "attn_blocks"),
        },
        published=_published,
    ),
}  # fmt: skip
