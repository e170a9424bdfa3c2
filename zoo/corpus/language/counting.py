"""Entropies and mutual information out of counts, in bits, with what is known of their bias.

A plain ("plug-in") entropy of N samples over m different values is too low by about (m - 1) / 2N nats (Miller 1955). Given contexts
the sum over all of them is added: (different pairs of context and value - contexts) / 2N. It is a first-order correction: where most
values were seen once or twice in their context, the true entropy is higher still, so each figure comes with its numbers of contexts
and ids.

Letters: N samples, m different values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..check import entropy

#: Ids for each different pair of context and id below which an entropy is marked as too low.
ENOUGH = 5.0
_NATS = math.log(2)


@dataclass(frozen=True)
class Conditional:
    """Entropy of ids given a context.

    Attributes:
        bits: bits an id, with the correction of Miller.
        plug_in_bits: the same without it.
        contexts: different contexts.
        cells: different pairs of context and id.
        ids: N.
    """

    bits: float
    plug_in_bits: float
    contexts: int
    cells: int
    ids: int

    @property
    def thin(self) -> bool:
        """True where there are too few ids for this number of contexts: the entropy is then higher than the figure."""
        return self.ids < ENOUGH * self.cells


def labels(*columns: np.ndarray) -> np.ndarray:
    """A number from 0 for each different row of the columns, int64 `[N]`; columns hold ids from 0, below 2^40."""
    out = np.unique(columns[0], return_inverse=True)[1]
    for column in columns[1:]:
        own = np.unique(column, return_inverse=True)[1]
        out = np.unique(out * (int(own.max(initial=0)) + 1) + own, return_inverse=True)[1]
    return out.astype(np.int64)


def conditional(ids: np.ndarray, *contexts: np.ndarray) -> Conditional | None:
    """Entropy of ids `[N]` given columns of context `[N]`; without any, of the ids alone. None of no ids."""
    if not len(ids):
        return None
    joint = np.bincount(labels(ids, *contexts))
    context = np.bincount(labels(*contexts)) if contexts else np.array([len(ids)])
    plain = max(0.0, entropy(joint) - entropy(context))
    bias = (len(joint) - len(context)) / (2 * len(ids) * _NATS)
    return Conditional(plain + bias, plain, len(context), len(joint), len(ids))


@dataclass(frozen=True)
class Mutual:
    """Mutual information of two columns.

    Attributes:
        bits: that of the columns, less that of the same columns with one of them shuffled: what their finite number makes by itself.
        plug_in_bits: without that.
        pairs: N.
    """

    bits: float
    plug_in_bits: float
    pairs: int


def mutual_information(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> Mutual | None:
    """Mutual information of columns `[N]`; None of no pairs.

    The shuffled columns have more different pairs than dependent ones, so strong dependence is underestimated, never overestimated
    on average.
    """
    if not len(a):
        return None
    a, b = labels(a), labels(b)
    found = _plain(a, b)
    by_chance = _plain(a, np.random.default_rng(seed).permutation(b))
    return Mutual(found - by_chance, found, len(a))


def _plain(a: np.ndarray, b: np.ndarray) -> float:
    pairs = np.unique(a * (int(b.max()) + 1) + b, return_counts=True)[1]
    return entropy(np.bincount(a)) + entropy(np.bincount(b)) - entropy(pairs)


def jensen_shannon(a: np.ndarray, b: np.ndarray) -> float:
    """Divergence of two distributions given by counts of the same values, 0 to 1 bit."""
    p, q = a / max(1, a.sum()), b / max(1, b.sum())
    middle = (p + q) / 2

    def plain(x: np.ndarray) -> float:
        x = x[x > 0]
        return float(-(x * np.log2(x)).sum())

    return min(1.0, max(0.0, plain(middle) - (plain(p) + plain(q)) / 2))  # sums of floats may be just outside


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one after the other; int64 `[0]` of none."""
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
