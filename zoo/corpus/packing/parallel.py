"""`parallel`: K ids a step, all of one frame; for models that predict them together or with a depth model on top.

"Parallel pattern" of MusicGen (arXiv:2306.05284): the shortest, and exact only if something models the
ids of a frame jointly, as the depth transformer of UniAudio (arXiv:2310.00704) does.
"""

from dataclasses import dataclass
from typing import ClassVar

from .base import PackingConfig
from .streams import StreamPacking


@dataclass(frozen=True, kw_only=True)
class ParallelConfig(PackingConfig):
    """Settings of `parallel`: only those that all packings share."""

    kind: ClassVar[str] = "parallel"

    def build(self) -> "ParallelPacking":
        return ParallelPacking(self)


class ParallelPacking(StreamPacking):
    """Packs all codebooks of a frame into one step, one row (stream) for each codebook."""

    def __init__(self, config: ParallelConfig) -> None:
        super().__init__(config, (0,) * len(config.vocabulary.books(config.tokenizer).vocab_sizes))
