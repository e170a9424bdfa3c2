"""`multi_rate`: codebooks of different rates, frame by frame; a frame spans the least common multiple of the strides.

    strides (4, 2, 1), order "depth"   codebook   0 1 2 2 1 2 2      (7 ids for 4 positions, as SNAC's users flatten it)
                                       position   0 0 0 1 2 2 3
                       order "level"   codebook   0 1 1 2 2 2 2
                                       position   0 0 2 0 1 2 3

SNAC (arXiv:2410.14411). `Tokens` repeats a slow codebook's id over its stride; here it occurs once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ....codecs.config import ConfigError
from ....codecs.tokens import Tokens
from .base import PackingConfig
from .flat import FlatPacking, Layout


@dataclass(frozen=True, kw_only=True)
class MultiRateConfig(PackingConfig):
    """`strides`: positions that share one id of each codebook, as in `Tokens.strides`. `order`: see the diagram above."""

    kind: ClassVar[str] = "multi_rate"
    strides: tuple[int, ...]
    order: Literal["depth", "level"] = "depth"

    def build(self) -> "MultiRatePacking":
        return MultiRatePacking(self)


class MultiRatePacking(FlatPacking):
    """Packs codebooks of several frame rates frame by frame, each id once."""

    grows = True
    config: MultiRateConfig

    def __init__(self, config: MultiRateConfig) -> None:
        super().__init__(config)
        if len(config.strides) != len(self.vocab_sizes) or min(config.strides) < 1:
            raise ConfigError(f"strides is {config.strides}; give one positive number for each of K={len(self.vocab_sizes)}.")
        self.strides = config.strides
        self.frame = math.lcm(*self.strides)
        slots = [(k, p) for k, s in enumerate(self.strides) for p in range(0, self.frame, s)]
        if config.order == "depth":
            slots.sort(key=lambda slot: (slot[1], slot[0]))
        self.slots = slots

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        count = layout.positions // self.frame
        book = torch.tensor([k for k, _ in self.slots]).repeat(count)
        start = torch.arange(count).repeat_interleave(len(self.slots)) * self.frame
        return book, start + torch.tensor([p for _, p in self.slots]).repeat(count)

    def layouts(self, own: Tensor, book: Tensor, ids: Tensor) -> Sequence[Layout]:
        return [Layout(-(-len(ids) // len(self.slots)) * self.frame)]

    def decodable(self, positions: int) -> int:
        return positions - positions % self.frame

    def _spread(self, ids: Tensor) -> Tensor:
        at = torch.arange(ids.shape[1], device=ids.device)
        return torch.stack([row[at - at % s] for row, s in zip(ids, self.strides, strict=True)])

    def _check(self, tokens: Tokens) -> None:
        super()._check(tokens)
        for b, n in enumerate(tokens.lengths.tolist()):
            ids = tokens.ids[b, :, :n]
            if not torch.equal(self._spread(ids), ids):
                raise ValueError(f"item {b}: the ids of a codebook differ inside its stride {self.strides}; unpackable.")
