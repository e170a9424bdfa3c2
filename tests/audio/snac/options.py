"""SNAC: noise blocks, attention in windows, depthwise convolutions, each on and off."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from lively_audio import lively, twin
from peers import Peer
from torch import Tensor, nn


def _ids(module: nn.Module, x: Tensor) -> Tensor:
    """Codes of all levels, each repeated to the full rate."""
    codes = module.encode(x)
    length = max(c.shape[-1] for c in codes)
    return torch.stack([c.repeat_interleave(length // c.shape[-1], dim=-1) for c in codes], dim=1)


def _peer(theirs: dict[str, Any]) -> Peer | None:
    try:
        from snac import SNAC
    except ImportError:
        return None
    return twin("snac", theirs, SNAC(**theirs), _ids)


#: Heads of attention are 64 wide, whatever the config says.
_ATTENTION = {"encoder_dim": 16, "decoder_dim": 64, "attn_window_size": 6}

SWEEPS = {
    "snac": Sweep(
        tiny={
            "sampling_rate": 8000, "encoder_dim": 16, "encoder_rates": [2, 3], "decoder_dim": 64, "decoder_rates": [3, 2],
            "attn_window_size": None, "codebook_size": 32, "codebook_dim": 4, "vq_strides": [4, 2, 1], "noise": True,
            "depthwise": True,
        },
        options={
            "as it is": {},
            "attention": _ATTENTION,
            "attention in whole convolutions": _ATTENTION | {"depthwise": False},
            "whole convolutions": {"depthwise": False},
            "no noise": {"noise": False},
            "defaults of the switches": {"noise": DROP, "depthwise": DROP},
            "default rate": {"sampling_rate": DROP},
            "one level": {"vq_strides": [1]},
            "four levels": {"vq_strides": [8, 4, 2, 1]},
            "levels of one rate": {"vq_strides": [1, 1]},
            "default width of codes": {"codebook_dim": DROP},
            "a latent width that is the encoder's": {"latent_dim": 64},
            "three levels down": {"encoder_rates": [2, 2, 3], "decoder_rates": [3, 2, 2], "encoder_dim": 8},
            "other rates down and up": {"encoder_rates": [2, 6], "decoder_rates": [4, 3]},
        },
        refused={
            "a misspelt key": ({"encoder_ratez": [2]}, "encoder_rates"),
            "a latent width of its own": ({"latent_dim": 12}, "latent_dim"),
            "a window of nothing": ({"attn_window_size": 0}, "attn_window_size"),
        },
        enliven=lively,
        peer=_peer,
    ),
}  # fmt: skip
