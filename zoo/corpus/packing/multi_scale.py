"""`multi_scale`: the scales of a picture from coarse to fine, each row by row; the K ids of a position in turn.

    scales ((1, 1), (2, 2))   position   0   1 2 3 4
                              scale      0   1 1 1 1

VAR (arXiv:2404.02905) predicts a scale at a time: `scale_of_steps` gives the scale of each step, for its
block-wise mask. An item may hold the first scales only; they decode to a coarser picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

from ....codecs.config import ConfigError
from .base import PackingConfig
from .flat import FlatPacking, Layout, frames
from .results import Read


@dataclass(frozen=True, kw_only=True)
class MultiScaleConfig(PackingConfig):
    """`scales`: `(h, w)` of each scale, as in `Tokens.scales`."""

    kind: ClassVar[str] = "multi_scale"
    scales: tuple[tuple[int, int], ...]

    def build(self) -> "MultiScalePacking":
        return MultiScalePacking(self)


class MultiScalePacking(FlatPacking):
    """Packs the scales of multi-scale tokens one after the other, from coarse to fine."""

    grows = True

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__(config)
        if not config.scales or min(min(s) for s in config.scales) < 1:
            raise ConfigError(f"scales is {config.scales}; give (height, width) pairs, all positive.")
        self.scales = config.scales
        self.ends = tuple(accumulate(h * w for h, w in self.scales))

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        return frames(range(len(self.books.vocab_sizes)), layout.positions)

    def layouts(self, own: Tensor, book: Tensor, ids: Tensor) -> Sequence[Layout]:
        return [Layout(min(-(-len(ids) // len(self.books.vocab_sizes)), self.ends[-1]))]

    def decodable(self, positions: int) -> int:
        return max((e for e in self.ends if e <= positions), default=0)

    def _read(self, ids: Tensor, item: int) -> Read:
        read = super()._read(ids, item)
        return replace(read, grid=self.scales[-1] if read.ids.shape[1] == self.ends[-1] else None)

    def scale_of_steps(self, steps: int) -> Tensor:
        """Index of the scale of each of the first `steps` steps, int64 `[steps]`; -1 for begin, end and padding."""
        per_scale = torch.tensor([h * w for h, w in self.scales]) * len(self.books.vocab_sizes)
        content = torch.arange(len(self.scales)).repeat_interleave(per_scale)
        out = torch.full((steps,), -1, dtype=torch.int64)
        n = max(0, min(steps - 1, len(content)))
        out[1 : 1 + n] = content[:n]
        return out
