"""Attention in which every position sees a window around itself, on both sides; memory is linear in the length.

Letters: B batch, L positions, H heads, d width of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .transformer1d import QUERY_BLOCK


def window_attention(q: Tensor, k: Tensor, v: Tensor, window: tuple[int, int], *, dropout: float = 0.0) -> Tensor:
    """Attention of `[B, H, L, d]` in which position i attends to i - window[0] .. i + window[1]; -1: no limit."""
    length = q.shape[2]
    before, after = (length if w < 0 else w for w in window)
    if torch.compiler.is_exporting():  # a graph for any length has no loop over it
        return F.scaled_dot_product_attention(q, k, v, _allowed(0, length, 0, length, before, after, q), dropout_p=dropout)
    if before >= length - 1 and after >= length - 1:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    out = []
    for start in range(0, length, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, length)
        first, last = max(0, start - before), min(length, stop + after)
        allowed = _allowed(start, stop, first, last, before, after, q)
        keys, values = k[:, :, first:last], v[:, :, first:last]
        out.append(F.scaled_dot_product_attention(q[:, :, start:stop], keys, values, allowed, dropout_p=dropout))
    return torch.cat(out, dim=2)


def _allowed(start: int, stop: int, first: int, last: int, before: int, after: int, like: Tensor) -> Tensor:
    """Which of the keys `first..last` each of the queries `start..stop` attends to."""
    ahead = torch.arange(first, last, device=like.device) - torch.arange(start, stop, device=like.device)[:, None]
    return (ahead >= -before) & (ahead <= after)
