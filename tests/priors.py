"""Priors with random numbers, for tests of coding."""

from collections.abc import Mapping, Sequence

import numpy as np
from tokenzoo.codecs.entropy.neighbours import Neighbour
from tokenzoo.codecs.entropy.prior import BookPrior, Prior, rows_of


def random_prior(sizes: Sequence[int], *, rank: int = 3, seed: int = 0, tokenizer: Mapping[str, str] | None = None) -> Prior:
    """A prior whose codebooks look at neighbours of all sorts, also at some that come later and so never exist."""
    dice, books = np.random.default_rng(seed), list[BookPrior | None]()
    for k, size in enumerate(sizes):
        if size == 1:
            books.append(None)
            continue
        near = [Neighbour(k, 0, -1), Neighbour(k, -1, 1), Neighbour(k, 1, 0)] + [Neighbour(k - 1, 0, 0), Neighbour(0, 1, 1)] * (k > 0)
        tables = tuple(dice.integers(-127, 128, (rows_of(sizes[n.book]) + 1, rank)).astype(np.int8) for n in near)
        matrix, logarithms = dice.integers(-127, 128, (rank, size)).astype(np.int8), dice.integers(-900, 900, size).astype(np.int16)
        books.append(BookPrior(tuple(near), tables, matrix, logarithms, 5))
    return Prior("random", tuple(sizes), tuple(books), tokenizer)
