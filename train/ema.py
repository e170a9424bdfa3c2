"""A running mean of a module's weights."""

import copy

import torch
from torch import nn

from .config import EmaConfig


class Ema:
    """A second copy of a module, in eval mode, whose parameters follow the first one's slowly.

    Parameters are averaged: `mean <- d * mean + (1 - d) * new`. Buffers are copied: codebooks that are kept by their
    own running mean, counters and flags have their meaning only as they are.
    """

    def __init__(self, config: EmaConfig, module: nn.Module) -> None:
        self.config = config
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    def decay(self, step: int) -> float:
        """Share of the old mean that update number `step` (from 0) keeps."""
        return min(self.config.decay, (1 + step) / (10 + step)) if self.config.warmup else self.config.decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights of `module` after update number `step`."""
        mean, new = dict(self.module.named_parameters()), dict(module.named_parameters())
        share = 1 - self.decay(step)
        for name, value in mean.items():
            value.lerp_(new[name].to(value.dtype), share)
        persistent = self.module.state_dict(keep_vars=True).keys()
        buffers = dict(self.module.named_buffers())
        for name, value in module.named_buffers():
            if name in persistent and buffers[name].shape == value.shape:
                buffers[name].copy_(value)
