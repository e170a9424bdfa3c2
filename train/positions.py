"""Ids of the items of the latest step at some positions: do they depend on the input?

Items of one step alone: from step to step ids change because codebook and encoder move, also where they do not depend on the input.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..codecs.position_statistics import PositionStatistics, looked_at, statistics
from ..codecs.tokenizer import Tokenizer

#: Most items of a step that are compared.
MOST = 256


class StepIds:
    """The ids of one step; see `codecs/position_statistics.py`.

    Args:
        num_codebooks: K.
    """

    def __init__(self, num_codebooks: int) -> None:
        self.num_codebooks = num_codebooks
        self.parts: list[Tensor] = []

    def begin(self) -> None:
        """Forget the step before."""
        self.parts = []

    def record(self, ids: Tensor) -> None:
        """Add ids `[B, K', L]` of the first K' codebooks, -1 where there is none."""
        self.parts.append(ids.detach())

    def statistics(self) -> PositionStatistics:
        """Statistics over the items of the step in all processes (all must call)."""
        rows = _joined(self.parts, self.num_codebooks)
        if dist.is_available() and dist.is_initialized():
            everyones: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(everyones, rows.cpu())
            shortest = min(r.shape[2] for r in everyones)
            rows = torch.cat([r[:, :, :shortest] for r in everyones])[:MOST]
        return statistics(rows)


def _joined(parts: Sequence[Tensor], num_codebooks: int) -> Tensor:
    """Ids `[N, K, P]` of all parts at the positions that are looked at."""
    at = looked_at(max((p.shape[2] for p in parts), default=0))
    rows = torch.full((sum(len(p) for p in parts), num_codebooks, len(at)), -1, device=parts[0].device if parts else None)
    first = 0
    for part in parts:
        own = at[at < part.shape[2]].to(part.device)
        rows[first : first + len(part), : part.shape[1], : len(own)] = part[:, :, own]
        first += len(part)
    return rows[:MOST]


def without_padding(tokenizer: Tokenizer, x: Tensor, ids: Tensor) -> Tensor:
    """`ids` `[B, K, L]` of media `x`, -1 at the positions beyond a codebook's own grid."""
    grid = tokenizer.grid_of(x)
    own = None if grid is None else tokenizer.book_grids_of(grid)
    if own is None:
        return ids
    places = torch.arange(ids.shape[2], device=ids.device)
    sizes = torch.tensor([h * w for h, w in own], device=ids.device)
    return ids.masked_fill(places >= sizes[: ids.shape[1], None], -1)
