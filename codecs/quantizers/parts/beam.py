"""Beam search through levels whose vectors are added: keeps several id sequences a row instead of the best of each level.

Babenko & Lempitsky 2014 ("Additive Quantization for Extreme Vector Compression", CVPR). A greedy residual search commits to the
nearest code of every level; a slightly worse code early often lets the later levels come closer.

Letters: N rows, D their width, d width of a table, V codebook size, P kept sequences, C candidate codes of a level.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .nearest import row_sum, smallest, wide

_NUMBERS = 1 << 22  # candidates times width that are held at once


class Level(Protocol):
    """What the search needs of a level (`VQ` has it)."""

    def nearest(self, rows: Tensor, count: int) -> Tensor:
        """The `count` nearest codes, nearest first, int64 `[N, C]`, C = min(count, V), of rows `[N, D]`."""
        ...

    def decode_rows(self, ids: Tensor) -> Tensor:
        """Vectors `[N, D]` of ids `[N]`."""
        ...


def beam_search(z: Tensor, levels: Sequence[Level], width: int) -> Tensor:
    """Return ids int64 `[K, N]` of the sequence with the smallest distance among those kept.

    Args:
        z: rows `[N, D]`.
        levels: the K levels; the vectors of a sequence are added.
        width: P, number of sequences kept after each level; 1 is the greedy search.
    """
    rows = z.split(max(_NUMBERS // (width * width * z.shape[1]), 1))
    return torch.cat([_search(part, levels, width) for part in rows], dim=1)


def _search(z: Tensor, levels: Sequence[Level], width: int) -> Tensor:
    residual = wide(z).unsqueeze(1)  # [N, P, D]
    paths = torch.zeros(len(z), 1, 0, dtype=torch.int64, device=z.device)  # [N, P, levels so far]
    for level in levels:
        flat = residual.flatten(0, 1).to(z.dtype)
        ids = level.nearest(flat, width).unflatten(0, residual.shape[:2])  # [N, P, C]
        left = residual.unsqueeze(2) - wide(level.decode_rows(ids.flatten())).view(*ids.shape, residual.shape[2])  # [N, P, C, D]
        best = smallest(row_sum(left.square()).flatten(1), min(width, ids.shape[1] * ids.shape[2]))  # [N, P']
        path, at = best // ids.shape[2], best.unsqueeze(-1)
        residual = left.flatten(1, 2).gather(1, at.expand(-1, -1, left.shape[-1]))
        before = paths.gather(1, path.unsqueeze(-1).expand(-1, -1, paths.shape[2]))
        paths = torch.cat((before, ids.flatten(1, 2).gather(1, best).unsqueeze(-1)), dim=2)
    return paths[:, 0].t().contiguous()
