"""`delay`: K ids a step, codebook k some steps behind the first; drawn in `streams.py`.

MusicGen (arXiv:2306.05284) delays codebook k by k; Moshi (arXiv:2410.00037) delays all but
the semantic one by one or two. n positions take n + max(delays) steps instead of K * n.
"""

from dataclasses import dataclass
from typing import ClassVar

from .base import PackingConfig
from .streams import StreamPacking


@dataclass(frozen=True, kw_only=True)
class DelayConfig(PackingConfig):
    """`delays`: steps that each codebook comes late, the smallest 0; empty: 0, 1, .., K-1."""

    kind: ClassVar[str] = "delay"
    delays: tuple[int, ...] = ()

    def build(self) -> "DelayPacking":
        return DelayPacking(self)


class DelayPacking(StreamPacking):
    """Rows shifted against each other. `pack` takes `Tokens` and `unpack` takes ids, so no delay is applied twice."""

    def __init__(self, config: DelayConfig) -> None:
        count = len(config.vocabulary.books(config.tokenizer).vocab_sizes)
        super().__init__(config, config.delays or tuple(range(count)))
