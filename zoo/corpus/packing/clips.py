"""`clips`: one codebook on the grid of a clip of pictures, frame after frame, each row by row (VidTok, Cosmos DV, Emu3).

    grid (2, 2, 2)                     p0 p1 p2 p3 p4 p5 p6 p7
    grid (2, 2, 2) with row_ends       p0 p1 end_row p2 p3 end_row end_row p4 p5 end_row p6 p7 end_row

With `row_ends` an `end_row` closes each row and another one, of an empty row, parts two frames, so that clips of any length and size
unpack from a model's ids alone. A clip of one frame has the sequence of a picture (`raster`). "Frame" is a step of the grid in time.

Letters: t h w grid of a clip.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from ....codecs.config import ConfigError
from ....codecs.tokens import Tokens
from .base import PackingConfig
from .flat import END_ROW, FlatPacking, Layout
from .results import solid


@dataclass(frozen=True, kw_only=True)
class ClipsConfig(PackingConfig):
    """`grid`: the one `(t, h, w)` that all clips have; None: any. `row_ends`: close each row with `end_row`, and part frames.

    With neither, ids of a model unpack to a plain sequence, for the caller to give a grid.
    """

    kind: ClassVar[str] = "clips"
    grid: tuple[int, int, int] | None = None
    row_ends: bool = False

    def build(self) -> "ClipsPacking":
        return ClipsPacking(self)


class ClipsPacking(FlatPacking):
    """Frames in time, rows from the top, ids from the left."""

    grows = True
    single = True
    config: ClipsConfig

    def __init__(self, config: ClipsConfig) -> None:
        super().__init__(config)
        if config.grid is not None and min(config.grid) < 1:
            raise ConfigError(f"grid is {config.grid}; give three positive numbers or null.")

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        position = torch.arange(layout.positions)
        if not self.config.row_ends or layout.grid is None or not layout.positions:
            return torch.zeros_like(position), position
        t, h, w = solid(layout.grid)
        position = position.view(t, h, w)
        rows = torch.cat([position, position[..., -1:]], dim=2).flatten(1)  # [t, h (w + 1)]
        steps = torch.cat([rows, rows[:, -1:]], dim=1)  # [t, h (w + 1) + 1]
        book = torch.zeros_like(steps)
        book[:, w :: w + 1] = END_ROW
        book[:, -1] = END_ROW
        return book.flatten()[:-1], steps.flatten()[:-1]

    def layouts(self, own: Tensor, book: Tensor, ids: Tensor) -> Sequence[Layout]:
        if self.config.grid is not None:
            return [Layout(math.prod(self.config.grid), self.config.grid)]
        if not self.config.row_ends:
            return [Layout(len(ids))]
        ends = [-1, *(ids == self.special["end_row"]).nonzero()[:, 0].tolist()]
        widths, heights, rows = Counter[int](), Counter[int](), 0  # broken rows and frames are outvoted
        for a, b in pairwise(ends):
            if b - a > 1:
                widths[b - a - 1] += 1
                rows += 1
            elif rows:
                heights[rows] += 1
                rows = 0
        out: list[Layout] = []
        for w in [w for w, _ in widths.most_common(3)] or [max(1, len(ids))]:
            whole = [h for h, _ in heights.most_common(3) if h * (w + 1) <= 2 * len(ids)]
            grids = [(-(-(len(ids) + 1) // (h * (w + 1) + 1)), h, w) for h in whole]
            out += [Layout(math.prod(grid), grid) for grid in [*grids, (1, max(1, -(-len(ids) // (w + 1))), w)]]
        return out

    def decodable_in(self, layout: Layout, positions: int) -> int:
        if layout.grid is None:
            return positions
        _, h, w = solid(layout.grid)
        return positions - positions % (h * w if positions >= h * w else w)

    def _check(self, tokens: Tokens) -> None:
        super()._check(tokens)
        if not (self.config.row_ends or self.config.grid):
            return
        for item in tokens:
            if len(item.grid) not in (2, 3) or self.config.grid not in (None, solid(item.grid)):
                raise ValueError(f"clips packing is set for clips of grid {self.config.grid or '(t, h, w)'}, got {item.grid}.")
            if math.prod(item.grid) != int(item.lengths[0]):
                raise ValueError(f"an item of {int(item.lengths[0])} positions does not fill its grid {item.grid}.")
