"""How far the ids of two corpora are apart: Jensen-Shannon divergence of single ids and of pairs, in bits from 0 to 1.

Two samples of one source are not at 0 either: the fewer ids for each value, the farther they are apart by chance. `by_chance` is what
the same items give when they are dealt at random into two heaps of the same numbers; drift is what exceeds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .counting import jensen_shannon, joined, labels

#: Random deals that `by_chance` is the mean of.
DEALS = 4


@dataclass(frozen=True)
class Drift:
    """Divergence of one codebook: of single ids and of pairs of neighbours in the order of the items, and both by chance alone."""

    unigram_bits: float
    bigram_bits: float
    unigram_by_chance: float
    bigram_by_chance: float


def drift(a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, seed: int = 0) -> Drift | None:
    """Drift between items `[L]` of two corpora; None where either has no ids."""
    own, other = sum(len(x) for x in a), sum(len(x) for x in b)
    if not own or not other:
        return None
    items = [*a, *b]
    singles = labels(joined(items))
    pairs = labels(joined([x[:-1] for x in items]), joined([x[1:] for x in items]))
    second = np.arange(len(items)) >= len(a)
    rng = np.random.default_rng(seed)
    heaps = [second, *(rng.permutation(second) for _ in range(DEALS))]
    lengths = np.array([len(x) for x in items])
    found = [[_apart(v, np.repeat(h, n)) for h in heaps] for v, n in ((singles, lengths), (pairs, np.maximum(lengths - 1, 0)))]
    chance = [float(np.mean(values[1:])) for values in found]
    return Drift(found[0][0], found[1][0], chance[0], chance[1])


def _apart(values: np.ndarray, second: np.ndarray) -> float:
    """Divergence of the values `[N]` where `second` is False from those where it is True."""
    size = int(values.max(initial=-1)) + 1
    if second.all() or not second.any():
        return 0.0
    return jensen_shannon(np.bincount(values[~second], minlength=size), np.bincount(values[second], minlength=size))
