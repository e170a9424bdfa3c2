"""`prefix`: 1-D sequences that may be cut short: the more positions, the finer the picture.

FlexTok (arXiv:2502.13967), One-D-Piece (arXiv:2501.10064); TiTok (arXiv:2406.07550) with its one length. Items of a
batch have different lengths; the end token marks where a model chose to stop. `cut` shortens a batch for training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....codecs.config import ConfigError
from ....codecs.tokens import Tokens
from .base import PackingConfig
from .flat import FlatPacking, Layout, frames


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(PackingConfig):
    """`allowed`: the numbers of positions that the tokenizer decodes, rising; empty: any."""

    kind: ClassVar[str] = "prefix"
    allowed: tuple[int, ...] = ()

    def build(self) -> "PrefixPacking":
        return PrefixPacking(self)


class PrefixPacking(FlatPacking):
    """Positions from the first on, K ids each."""

    grows = True
    config: PrefixConfig

    def __init__(self, config: PrefixConfig) -> None:
        super().__init__(config)
        if list(config.allowed) != sorted(set(config.allowed)) or (config.allowed and config.allowed[0] < 1):
            raise ConfigError(f"allowed is {config.allowed}; give rising positive numbers, or none.")

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        return frames(range(len(self.books.vocab_sizes)), layout.positions)

    def layouts(self, own: Tensor, book: Tensor, ids: Tensor) -> Sequence[Layout]:
        positions = -(-len(ids) // len(self.books.vocab_sizes))
        return [Layout(min(positions, *self.config.allowed[-1:]) if self.config.allowed else positions)]

    def decodable(self, positions: int) -> int:
        if not self.config.allowed:
            return positions
        return max((a for a in self.config.allowed if a <= positions), default=0)

    def cut(self, tokens: Tokens, lengths: Sequence[int]) -> Tokens:
        """Keep the first `lengths[b]` positions of item b; the rest becomes padding.

        Raises:
            ValueError: another number of lengths than items, or one that is not allowed or longer than its item.
        """
        have = tokens.lengths.tolist()
        if len(lengths) != len(have):
            raise ValueError(f"got {len(lengths)} lengths for {len(have)} items.")
        for n, limit in zip(lengths, have, strict=True):
            if not 1 <= n <= limit or self.decodable(n) != n:
                raise ValueError(f"length {n} of an item of {limit} positions; allowed: {self.config.allowed or 'any'}.")
        if not have:
            return tokens
        return Tokens.cat([t.first(positions=n) for t, n in zip(tokens, lengths, strict=True)])

    def draw(self, tokens: Tokens, generator: torch.Generator | None = None) -> Tokens:
        """`cut` each item to a length drawn evenly from those allowed (nested dropout, FlexTok)."""
        lengths = []
        for limit in tokens.lengths.tolist():
            options = [a for a in self.config.allowed if a <= limit] or list(range(1, limit + 1))
            lengths.append(options[int(torch.randint(len(options), (), generator=generator))])
        return self.cut(tokens, lengths)
