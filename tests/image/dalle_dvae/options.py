"""DALL-E's discrete VAE: the few arguments of its two classes."""

from typing import Any

import torch
from image_cases import enliven
from layout_options import DROP, Sweep


def _spread(tok: Any) -> None:
    """Lively weights and logits of mean 0, so that several codes win."""
    enliven(tok)
    with torch.no_grad():
        x = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(2))
        tok.quantizer.scores.bias.sub_(tok.quantizer.logits(tok.encode_latents(x)).mean((0, 2)))


SWEEPS = {
    "dalle-dvae": Sweep(
        tiny={"n_hid": 4, "n_blk_per_group": 1, "n_init": 6, "vocab_size": 24},
        options={
            "as it is": {},
            "the class's own channels": {"input_channels": 3, "output_channels": 3},
            "two blocks a group": {"n_blk_per_group": 2},
            "their number by default": {"n_blk_per_group": DROP},
            "a wider network": {"n_hid": 8},
            "other codes": {"vocab_size": 10},
            "8192 codes by default": {"vocab_size": DROP},
            "three blocks and another width": {"n_blk_per_group": 3, "n_hid": 12},
            "few codes, wide vectors": {"vocab_size": 5, "n_init": 9},
            "another first width": {"n_init": 4},
            "its default": {"n_init": DROP},
            "where and how it ran": {"device": "cpu", "requires_grad": False, "use_mixed_precision": True, "group_count": 4},
        },
        shape=(3, 24, 40),
        refused={
            "grey pictures": ({"input_channels": 1}, "input_channels"),
            "a width of no quarters": ({"n_hid": 6}, "multiple of 4"),
            "a misspelt key": ({"n_hidd": 4}, "n_hid"),
        },
        enliven=_spread,
        parts={"encoder": ("encoder.",), "decoder": ("decoder.",)},
    )
}
