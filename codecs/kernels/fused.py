"""Pointwise functions fused into one pass over memory by `torch.compile`, if `tokenizer.compile()` has switched this on.

Only the activations between convolutions are compiled, each function once for all shapes. This takes a minute less than compiling
whole networks, needs no recompilation for another length, and signals are still computed in tiles (`time_tiles.py`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .mode import cpu_inference

#: Smallest number of values for which a second thread is worth its start (PyTorch's own grain size).
_LEAST = 1 << 15


class Fusable(nn.Module):
    """Base of activations that have a fused form."""

    #: Whether the fused form is switched on; set by `fuse`.
    fused: bool = False

    def fuses(self, x: Tensor) -> bool:
        """Whether the fused form is used for `x`."""
        return self.fused and cpu_inference(x) and x.numel() >= _LEAST


def fuse(module: nn.Module) -> int:
    """Switch the fused form on in all submodules of `module` that have one; returns their number."""
    parts = [m for m in module.modules() if isinstance(m, Fusable)]
    for part in parts:
        part.fused = True
    return len(parts)


def on_rows(function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """Apply a pointwise `function(rows, *others)`, compiled once for all shapes, to the rows `[B T, C]` of `x [B, C, T]`."""
    rows = x.transpose(1, 2)
    flat = rows.contiguous().view(-1, x.shape[1]).data  # `data` is no view: `torch.compile` also guards on the base of a view
    return _compiled(function)(flat, *(t.data for t in others)).view(rows.shape).transpose(1, 2)


@cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True, fullgraph=True)
