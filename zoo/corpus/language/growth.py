"""How often ids occur by rank (Zipf), and how their number grows with the corpus (Heaps).

Zipf: the id of rank r occurs in proportion to r^-a; natural text has a near 1. Heaps: n ids hold c n^b different ones; b is 1
while each is new, and 0 when none is. Both are fitted as straight lines of logarithms.

Own choice: both are fitted at places evenly spaced in the logarithm, so that each decade counts alike, and ids that occur less
than `FEWEST` times are left out of the first fit: at the end of the ranks counts are steps, not a law.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

#: Occurrences from which an id is part of the fit over ranks.
FEWEST = 5
#: Such ids that a fit needs.
FEWEST_RANKS = 20
#: Places a decade.
_PLACES = 20


@dataclass(frozen=True)
class Fit:
    """A straight line through logarithms.

    Attributes:
        exponent: its slope; of ranks with the sign changed.
        error: standard error of the slope by the distances of the points from the line. The points depend on each other, so it says
            how straight they are, not how far another corpus would lie.
        r2: share of the variance that the line explains.
        points: their number.
    """

    exponent: float
    error: float
    r2: float
    points: int


def straight(x: np.ndarray, y: np.ndarray) -> Fit | None:
    """Least-squares line through `[N]` points; None of less than 3, or of one x only."""
    if len(x) < 3 or np.ptp(x) == 0:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    slope = float((dx * dy).sum() / (dx**2).sum())
    left, whole = float(((dy - slope * dx) ** 2).sum()), float((dy**2).sum())
    error = (left / (len(x) - 2) / float((dx**2).sum())) ** 0.5
    return Fit(slope, error, 1.0 if whole <= 1e-12 else 1 - left / whole, len(x))


def spaced(last: int) -> np.ndarray:
    """Whole numbers 1 to `last`, int64, evenly spaced in the logarithm, `last` among them."""
    if last < 1:
        return np.zeros(0, np.int64)
    steps = int(np.ceil(np.log10(last) * _PLACES)) + 1
    return np.unique(np.round(np.geomspace(1, last, steps)).astype(np.int64))


def zipf(counts: np.ndarray) -> Fit | None:
    """Exponent a of the frequencies by rank; None of less than `FEWEST_RANKS` ids that occur often enough.

    Args:
        counts: of each id that occurs, in any order.
    """
    ordered = np.sort(counts)[::-1]
    enough = int((ordered >= FEWEST).sum())
    if enough < FEWEST_RANKS:
        return None
    ranks = spaced(enough)
    fit = straight(np.log10(ranks), np.log10(ordered[ranks - 1]))
    return None if fit is None else Fit(-fit.exponent, fit.error, fit.r2, fit.points)


class Growth:
    """Counts ids of one codebook, item by item; holds one number for each id that occurs."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        #: ids seen, and different ones among them, at places evenly spaced in the logarithm
        self.curve: list[tuple[int, int]] = []
        #: of each item, ids that no item before it has
        self.new: list[int] = []
        self.ids, self._next = 0, 1

    def add(self, ids: np.ndarray) -> None:
        """Add the ids `[L]` of an item."""
        values, first, number = np.unique(ids, return_index=True, return_counts=True)
        known = self.counts
        fresh = np.sort([at for value, at in zip(values.tolist(), first.tolist(), strict=True) if value not in known])
        before, start = len(known), self.ids
        known.update(dict(zip(values.tolist(), number.tolist(), strict=True)))
        self.ids += len(ids)
        while self._next <= self.ids:
            self.curve.append((self._next, before + int(np.searchsorted(fresh, self._next - start, side="left"))))
            self._next = max(self._next + 1, round(self._next * 10 ** (1 / _PLACES)))
        self.new.append(len(fresh))

    def heaps(self) -> Fit | None:
        """Exponent b of the different ids over the ids, from the tenth id on."""
        n, found = np.array([c for c in self.curve if c[0] >= 10] or [(1, 1)]).T
        return straight(np.log10(n), np.log10(found))

    def innovation(self) -> tuple[float, float]:
        """New ids an item: the mean over all items, and over the later half of them."""
        late = self.new[len(self.new) // 2 :]
        return sum(self.new) / max(1, len(self.new)), sum(late) / max(1, len(late))

    def ranked(self) -> np.ndarray:
        """Occurrences of the ids, the most frequent first, int64."""
        return np.array(sorted(self.counts.values(), reverse=True), np.int64)
