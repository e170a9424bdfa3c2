"""Pointwise functions as one pass over memory, by `torch.compile`, where `tokenizer.compile()` has switched that on.

Only what stands between convolutions is compiled, each function once for all shapes: a minute less than whole networks take,
nothing again for another length, and signals still go through in tiles (`time_tiles.py`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .mode import cpu_inference

#: Fewer values than this are done before a second thread has woken up (PyTorch's own grain).
_LEAST = 1 << 15


class Fusable(nn.Module):
    """Base of activations that have a fused form."""

    #: Set by `fuse`.
    fused: bool = False

    def fuses(self, x: Tensor) -> bool:
        """Whether `x` goes the fused way."""
        return self.fused and cpu_inference(x) and x.numel() >= _LEAST


def fuse(module: nn.Module) -> int:
    """Switch the fused form on in all parts of `module` that have one; returns how many."""
    parts = [m for m in module.modules() if isinstance(m, Fusable)]
    for part in parts:
        part.fused = True
    return len(parts)


def on_rows(function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """A pointwise `function(rows, *others)` of `x [B, C, T]`, whose rows `[B T, C]` it gets; compiled once for all shapes."""
    rows = x.transpose(1, 2)
    flat = rows.contiguous().view(-1, x.shape[1]).data  # `data` is no view: `torch.compile` looks at what a view is a view of
    return _compiled(function)(flat, *(t.data for t in others)).view(rows.shape).transpose(1, 2)


@cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True, fullgraph=True)
