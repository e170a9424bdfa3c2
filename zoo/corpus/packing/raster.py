"""`raster`: one codebook on a grid, row by row from the top left (VQGAN, arXiv:2012.09841; LlamaGen).

    grid (2, 3)                     p0 p1 p2 p3 p4 p5
    grid (2, 3) with row_ends       p0 p1 p2 end_row p3 p4 p5 end_row

With `row_ends` the sequence itself encodes the width and height of the picture, so that pictures of any size unpack from
a model's ids alone (as the end-of-line token of Emu3, arXiv:2409.18869).
"""

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
from .results import plane


@dataclass(frozen=True, kw_only=True)
class RasterConfig(PackingConfig):
    """`grid`: the one `(h, w)` that all pictures have; None: any. `row_ends`: close each row with `end_row`.

    With neither, ids of a model unpack to a plain sequence, for the caller to give a grid.
    """

    kind: ClassVar[str] = "raster"
    grid: tuple[int, int] | None = None
    row_ends: bool = False

    def build(self) -> "RasterPacking":
        return RasterPacking(self)


class RasterPacking(FlatPacking):
    """Rows from the top, ids from the left."""

    grows = True
    single = True
    config: RasterConfig

    def __init__(self, config: RasterConfig) -> None:
        super().__init__(config)
        if config.grid is not None and min(config.grid) < 1:
            raise ConfigError(f"grid is {config.grid}; give two positive numbers or null.")

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        position = torch.arange(layout.positions)
        if not self.config.row_ends or layout.grid is None:
            return torch.zeros_like(position), position
        h, w = layout.grid
        position = position.view(h, w)
        position = torch.cat([position, position[:, -1:]], dim=1)  # [h, w + 1]
        book = torch.zeros_like(position)
        book[:, -1] = END_ROW
        return book.reshape(-1), position.reshape(-1)

    def layouts(self, own: Tensor, book: Tensor, ids: Tensor) -> Sequence[Layout]:
        if self.config.grid is not None:
            h, w = self.config.grid
            return [Layout(h * w, (h, w))]
        if not self.config.row_ends:
            return [Layout(len(ids))]
        ends = [-1, *(ids == self.special["end_row"]).nonzero()[:, 0].tolist()]
        widths = Counter(b - a - 1 for a, b in pairwise(ends))  # broken rows are outvoted
        tried = [w for w, _ in widths.most_common(3) if w > 0] or [max(1, len(ids))]
        return [Layout(h * w, (h, w)) for w in tried for h in [-(-len(ids) // (w + 1))]]

    def decodable_in(self, layout: Layout, positions: int) -> int:
        return positions if layout.grid is None else positions - positions % layout.grid[1]

    def _check(self, tokens: Tokens) -> None:
        super()._check(tokens)
        if not (self.config.row_ends or self.config.grid):
            return
        for item in tokens:
            grid = tuple(plane(item.grid))
            if len(grid) != 2 or self.config.grid not in (None, grid):
                hint = " Clips of several steps take the packing 'clips'." if len(grid) == 3 else ""
                raise ValueError(f"raster packing is set for pictures of grid {self.config.grid or '(h, w)'}, got {item.grid}.{hint}")
            if grid[0] * grid[1] != int(item.lengths[0]):
                raise ValueError(f"an item of {int(item.lengths[0])} positions does not fill its grid {item.grid}.")
