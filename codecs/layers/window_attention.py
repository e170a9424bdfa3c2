"""Attention in which every position sees a window around itself; memory is linear in the length.

Letters: B batch, S positions, L queries, H heads, d width of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

#: Number of queries for which attention is computed at once: bounds the memory of long inputs.
QUERY_BLOCK = 512


def window_attention(q: Tensor, k: Tensor, v: Tensor, window: tuple[int, int], *, dropout: float = 0.0) -> Tensor:
    """Attention `[B, H, L, d]` of the last L of S positions to keys and values `[B, H, S, d]`.

    Position i attends to i - window[0] .. i + window[1]; -1: no limit.
    """
    length, keys = q.shape[2], k.shape[2]
    before, after = (keys if w < 0 else w for w in window)
    exporting = torch.compiler.is_exporting()  # a graph for any length has no loop over it
    if not exporting and before >= keys - 1 and after >= keys - 1:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    out = []
    for start in (0,) if exporting else range(0, length, QUERY_BLOCK):
        stop = length if exporting else min(start + QUERY_BLOCK, length)
        here, end = keys - length + start, keys - length + stop  # positions of these queries
        first, last = (0, keys) if exporting else (max(0, here - before), min(keys, end + after))
        ahead = torch.arange(first, last, device=q.device) - torch.arange(here, end, device=q.device)[:, None]
        allowed = (ahead >= -before) & (ahead <= after)
        queries, near = q[:, :, start:stop], (k[:, :, first:last], v[:, :, first:last])
        out.append(F.scaled_dot_product_attention(queries, *near, allowed, dropout_p=dropout))
    return torch.cat(out, dim=2) if len(out) > 1 else out[0]
