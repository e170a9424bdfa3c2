"""`bits`: ids of 2^b values as several tokens of fewer bits, most significant first; the embedding stays small.

    one codebook of 2^18, bits 8      id -> 8 bits | 8 bits | 2 bits      vocabularies 256, 256, 4
    16 groups of 2^8 (2^128), bits 1  128 steps of one bit each

Open-MAGVIT2 (arXiv:2409.04410, two sub-tokens of an LFQ id); bits predicted one by one: Infinity
(arXiv:2412.04431). The vocabulary holds the parts: `Books(vocab_sizes=split_sizes(sizes, bits))`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....codecs.config import ConfigError
from .base import PackingConfig
from .flat import FlatPacking, Layout, frames


def split_widths(vocab_size: int, bits: int) -> tuple[int, ...]:
    """Bits of each part of an id of `vocab_size` = 2^b, at most `bits` each, most significant part first."""
    width = vocab_size.bit_length() - 1
    if vocab_size < 2 or vocab_size != 1 << width:
        raise ConfigError(f"a codebook of {vocab_size} ids is not binary; bits packing takes powers of two.")
    if bits < 1:
        raise ConfigError(f"bits is {bits}; allowed: from 1.")
    return tuple(min(bits, width - at) for at in range(0, width, bits))


def split_sizes(vocab_sizes: Sequence[int], bits: int) -> tuple[int, ...]:
    """Vocabulary sizes of all parts of all codebooks, for `Books.vocab_sizes`."""
    return tuple(1 << w for v in vocab_sizes for w in split_widths(v, bits))


@dataclass(frozen=True, kw_only=True)
class BitsConfig(PackingConfig):
    """`vocab_sizes`: the tokenizer's own codebooks, powers of two. `bits`: the most that one token holds."""

    kind: ClassVar[str] = "bits"
    vocab_sizes: tuple[int, ...]
    bits: int

    def build(self) -> "BitsPacking":
        return BitsPacking(self)


class BitsPacking(FlatPacking):
    """The parts of a position in turn, position after position."""

    grows = True
    config: BitsConfig

    def __init__(self, config: BitsConfig) -> None:
        super().__init__(config)
        sizes = split_sizes(config.vocab_sizes, config.bits)
        if self.books.vocab_sizes != sizes:
            have = self.books.vocab_sizes
            raise ConfigError(f"{config.tokenizer!r:.200} in the vocabulary has sizes {have}; its parts are {sizes}.")
        self.widths = [split_widths(v, config.bits) for v in config.vocab_sizes]

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """V of the tokenizer's own codebooks, before they are split."""
        return self.config.vocab_sizes

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        return frames(range(len(self.books.vocab_sizes)), layout.positions)

    def _split(self, ids: Tensor) -> Tensor:
        parts = []
        for k, widths in enumerate(self.widths):
            rest = ids[:, k]
            for i, w in enumerate(widths):
                low = sum(widths[i + 1 :])
                part = rest >> low
                # The top part keeps all higher bits, so that an id outside its codebook is still refused.
                parts.append(part if i == 0 else part & ((1 << w) - 1))
        return torch.stack(parts, dim=1)

    def _join(self, ids: Tensor) -> Tensor:
        out, at = [], 0
        for widths in self.widths:
            whole = torch.zeros_like(ids[0])
            for w in widths:
                whole = (whole << w) | ids[at]
                at += 1
            out.append(whole)
        return torch.stack(out)
