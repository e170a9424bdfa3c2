"""A running mean of a module's weights."""

import copy

import torch
from torch import nn

from ..codecs.wrapping import bare
from .config import EmaConfig


class Ema:
    """Exponential moving average (EMA): a copy of a module in eval mode whose parameters are averages over training.

    Parameters are averaged: `mean <- d * mean + (1 - d) * new`. Buffers are copied: codebooks with their own
    running mean, counters and flags must not be averaged. The copy is never wrapped (DDP), even if the module is.
    """

    def __init__(self, config: EmaConfig, module: nn.Module) -> None:
        self.config = config
        self.module = copy.deepcopy(bare(module)).eval().requires_grad_(False)

    def decay(self, step: int) -> float:
        """Share of the old mean that update number `step` (from 0) keeps."""
        return min(self.config.decay, (1 + step) / (10 + step)) if self.config.warmup else self.config.decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Update the average with the weights of `module` after update number `step`."""
        mean, new = dict(self.module.named_parameters()), dict(bare(module).named_parameters())
        share = 1 - self.decay(step)
        for name, value in mean.items():
            value.lerp_(new[name].to(value.dtype), share)
        persistent = self.module.state_dict(keep_vars=True).keys()
        buffers = dict(self.module.named_buffers())
        for name, value in bare(module).named_buffers():
            if name in persistent and buffers[name].shape == value.shape:
                buffers[name].copy_(value)
