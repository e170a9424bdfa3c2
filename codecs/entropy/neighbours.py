"""Which ids of an item stand near an id: places in grids, and the ids there.

A neighbour is `(book, down, right)`: of the codebook itself an id that comes before in its grid, row by row; of an earlier codebook any
id, since all of that codebook's ids are known first. Sequences are grids of one row. Where two codebooks have different numbers of ids
(several rates, separate grids), places of one are those of the other in proportion.

Letters: h w grid of a codebook, n = h * w its ids.
"""

from dataclasses import dataclass

import numpy as np

#: `(h, w)` of one codebook of one item.
Grid = tuple[int, int]


@dataclass(frozen=True)
class Neighbour:
    """Codebook and offset of a neighbour, in rows down and places to the right."""

    book: int
    down: int
    right: int


def places(own: Grid, other: Grid, at: Neighbour, *, before: bool) -> np.ndarray:
    """Index of a neighbour of each of the n ids of a grid, int64 `[n]`; -1 where there is none.

    Args:
        own: grid of the codebook.
        other: grid of the neighbour's codebook.
        at: the neighbour.
        before: only neighbours with a smaller index than the id itself, as of the codebook's own ids.
    """
    (h, w), (rows, columns) = own, other
    y, x = (a.reshape(-1) for a in np.mgrid[0:h, 0:w])
    y = (y * rows // h if h else y) + at.down
    x = (x * columns // w if w else x) + at.right
    index = y * columns + x
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    if before:
        inside &= index < np.arange(h * w)
    return np.where(inside, index, -1)


def ids_at(ids: np.ndarray, index: np.ndarray, missing: int) -> np.ndarray:
    """Ids at places, `missing` where the place is -1."""
    return np.append(ids, missing)[index]
