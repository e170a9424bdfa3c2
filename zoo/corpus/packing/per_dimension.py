"""`per_dimension`: each codebook is one dimension of the latent; the dimensions of a position in a chosen order.

    order (2, 0, 1)   codebook   2 0 1   2 0 1
                      position   0 0 0   1 1 1

TokenBridge (arXiv:2503.16430): dimensions are predicted one after another inside a position, those that
carry most structure first, so the order is part of the packing.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ....codecs.config import ConfigError
from .base import PackingConfig
from .flat import FlatPacking, Layout, frames


@dataclass(frozen=True, kw_only=True)
class PerDimensionConfig(PackingConfig):
    """`order`: the dimensions 0..K-1, the first one predicted first; empty: as they are."""

    kind: ClassVar[str] = "per_dimension"
    order: tuple[int, ...] = ()

    def build(self) -> "PerDimensionPacking":
        return PerDimensionPacking(self)


class PerDimensionPacking(FlatPacking):
    """Packs the dimensions of each position as consecutive steps."""

    grows = True

    def __init__(self, config: PerDimensionConfig) -> None:
        super().__init__(config)
        count = len(self.vocab_sizes)
        self.order = config.order or tuple(range(count))
        if sorted(self.order) != list(range(count)):
            raise ConfigError(f"order is {config.order}; it must hold each of 0..{count - 1} once.")

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        return frames(self.order, layout.positions)
