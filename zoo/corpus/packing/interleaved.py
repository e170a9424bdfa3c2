"""`interleaved`: one id a step, all codebooks of a frame in turn, frame after frame: K * n steps.

    codebook   0 1 2   0 1 2   0 1 2
    position   0 0 0   1 1 1   2 2 2

"Flattening pattern" of MusicGen (arXiv:2306.05284): exact, but K times as long as `delay`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import PackingConfig
from .flat import FlatPacking, Layout, frames


@dataclass(frozen=True, kw_only=True)
class InterleavedConfig(PackingConfig):
    """Settings of `interleaved`: only those that all packings share."""

    kind: ClassVar[str] = "interleaved"

    def build(self) -> "InterleavedPacking":
        return InterleavedPacking(self)


class InterleavedPacking(FlatPacking):
    """Packs the codebooks of each frame as consecutive steps."""

    grows = True

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        return frames(range(len(self.books.vocab_sizes)), layout.positions)
