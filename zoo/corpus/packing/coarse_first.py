"""`coarse_first`: groups of codebooks one after another, each over the whole item; inside a group frame by frame.

    groups (1, 2)   codebook   0 0 0   1 2 1 2 1 2
                    position   0 1 2   0 0 1 1 2 2

AudioLM (arXiv:2209.03143): semantic, then coarse, then fine tokens, each stage conditioned on all of the previous ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....codecs.config import ConfigError
from .base import PackingConfig
from .flat import FlatPacking, Layout, frames


@dataclass(frozen=True, kw_only=True)
class CoarseFirstConfig(PackingConfig):
    """`groups`: codebooks in each group, in sum K; empty: each codebook is a group."""

    kind: ClassVar[str] = "coarse_first"
    groups: tuple[int, ...] = ()

    def build(self) -> "CoarseFirstPacking":
        return CoarseFirstPacking(self)


class CoarseFirstPacking(FlatPacking):
    """Groups of codebooks one after another."""

    def __init__(self, config: CoarseFirstConfig) -> None:
        super().__init__(config)
        count = len(self.vocab_sizes)
        self.groups = config.groups or (1,) * count
        if min(self.groups) < 1 or sum(self.groups) != count:
            raise ConfigError(f"groups is {config.groups}; it must be positive numbers with the sum K={count}.")

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        parts, first = [], 0
        for size in self.groups:
            parts.append(frames(range(first, first + size), layout.positions))
            first += size
        return torch.cat([b for b, _ in parts]), torch.cat([p for _, p in parts])

    def layouts(self, own: Tensor, book: Tensor, ids: Tensor) -> Sequence[Layout]:
        # The end of the first group gives the length of the item, also when the rest was cut off; a broken id in the
        # first group can make that wrong, then the number of ids is the better witness.
        later = (book >= self.groups[0]).nonzero()[:, 0]
        run = int(later[0]) if len(later) else len(ids)
        return [Layout(-(-run // self.groups[0])), Layout(-(-len(ids) // len(self.vocab_sizes)))]
