"""Do ids depend on the input? Their statistics at each position, over items.

A tokenizer that ignores its input can use its whole codebook, with another id at each position, yet every item gets the same ids:
usage and perplexity look healthy. Over many items at one position such a tokenizer has one id and an entropy of 0.

Letters: N items, K codebooks, L positions, P positions that are looked at.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .tokens import Tokens

#: Most positions that are looked at.
POSITIONS = 64
#: Two items that agree at a larger share of the positions are hardly told apart by their ids.
ALIKE = 0.9
#: Items from which that can be said.
FEWEST = 8


class PositionStatistics(NamedTuple):
    """Statistics of each codebook, means over positions; 0 where fewer than two items have an id.

    Attributes:
        entropy_bits: float `[K]`, entropy of the ids at a position, at most log2 of the number of items.
        distinct: float `[K]`, number of different ids at a position.
        alike: float `[K]`, share of the pairs of items that have the same id at a position; not biased by the number of items.
        items: N.
    """

    entropy_bits: Tensor
    distinct: Tensor
    alike: Tensor
    items: int

    def ignored(self) -> bool:
        """True if there are enough items, and in every codebook their ids hardly differ."""
        return self.items >= FEWEST and len(self.alike) > 0 and float(self.alike.min()) > ALIKE

    def warnings(self) -> list[str]:
        """A sentence for people if `ignored`, else nothing."""
        if not self.ignored():
            return []
        share = f"{float(self.alike.min()):.0%} of the pairs of {self.items} items have the same id at a position"
        return [f"the ids hardly depend on the input: {share}."]


def looked_at(length: int) -> Tensor:
    """At most `POSITIONS` of the positions below `length`, evenly spaced, int64 `[P]`."""
    return torch.arange(0, length, max(1, -(-length // POSITIONS)))


def statistics(ids: Tensor) -> PositionStatistics:
    """Statistics of ids `[N, K, P]`, -1 where an item has none."""
    items, books = ids.shape[:2]
    ordered = ids.permute(1, 2, 0).long().sort(dim=-1).values  # [K, P, N]
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    counts = torch.zeros(ordered.shape, device=ids.device, dtype=torch.float64)
    counts.scatter_add_(-1, begins.cumsum(-1) - 1, (ordered >= 0).double())  # of each different id
    number = counts.sum(-1)  # [K, P]
    p = counts / number.clamp(min=1)[..., None]
    pairs = (counts * (counts - 1)).sum(-1) / (number * (number - 1)).clamp(min=1)
    known = number >= 2

    def mean(x: Tensor) -> Tensor:
        return ((x * known).sum(-1) / known.sum(-1).clamp(min=1)).float()

    if items == 0 or ordered.shape[1] == 0:
        none = torch.zeros(books, device=ids.device)
        return PositionStatistics(none, none, none, items)
    entropy = torch.special.entr(p).sum(-1) / math.log(2)
    return PositionStatistics(mean(entropy), mean((counts > 0).double().sum(-1)), mean(pairs), items)


class PositionCounts:
    """Ids of many items, one after the other, at the positions that `looked_at` gives for the first one; later items may be longer.

    At most `MOST` items are kept, the first ones.
    """

    MOST = 4096

    def __init__(self) -> None:
        self.rows: list[Tensor] = []
        self.places = torch.zeros(0, dtype=torch.int64)

    def add(self, tokens: Tokens) -> None:
        """Add the one item of `tokens`."""
        if len(self.rows) >= self.MOST:
            return
        ids = tokens.ids[0].cpu()  # [K, L]
        if not self.rows:
            self.places = looked_at(ids.shape[1])
        at = self.places[self.places < ids.shape[1]]
        row = torch.full((ids.shape[0], len(self.places)), -1, dtype=torch.int32)
        row[:, : len(at)] = ids[:, at].int()
        if tokens.book_grids is not None:
            row[:, : len(at)].masked_fill_(at >= tokens.book_grids[0].prod(-1, keepdim=True).cpu(), -1)
        self.rows.append(row)

    def statistics(self) -> PositionStatistics:
        """Statistics over the items; raises no error if there are none."""
        if not self.rows:
            none = torch.zeros(0)
            return PositionStatistics(none, none, none, 0)
        return statistics(torch.stack(self.rows))
