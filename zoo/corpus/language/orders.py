"""Which earlier ids are the context of an id, and the entropies H1, H2, H3 that follow: given none, one and two of them.

Contexts never leave their item. In raster order (pictures row by row, from the left), the id before the first of a row is the last of
the row above. Letters: K codebooks.
"""

from collections.abc import Sequence

import numpy as np

from .counting import Conditional, conditional, joined
from .sources import Item

_BEFORE = {"time": "in time", "raster": "in raster order", "sequence": "in sequence"}


def entropies(items: Sequence[Item], book: int, order: str) -> dict[str, Conditional]:
    """Entropies of one codebook by a name that says what is given; those that no id has the context of are left out.

    Args:
        items: of a sample.
        book: its number.
        order: "time", "raster" or "sequence", what the order along an item is called.
    """
    own = [item.ids[book] for item in items]
    where = _BEFORE[order]
    found = {
        "H1": conditional(joined(own)),
        f"H2 given the id before {where}": _before(own, 1),
        f"H3 given the two ids before {where}": _before(own, 2),
        **_grid(items, book),
        **_codebooks(items, book),
        "H given the position": conditional(joined(own), joined([np.arange(len(x)) for x in own])),
    }
    return {name: value for name, value in found.items() if value is not None}


def _before(own: Sequence[np.ndarray], number: int) -> Conditional | None:
    """Given the `number` ids before."""
    ids = joined([x[number:] for x in own])
    return conditional(ids, *(joined([x[number - i : max(len(x) - i, number - i)] for x in own]) for i in range(1, number + 1)))


def _grid(items: Sequence[Item], book: int) -> dict[str, Conditional | None]:
    """In planes, given the id above, and the ids above and to the left."""
    planes = [item.ids[book].reshape(item.grids[book]) for item in items if len(item.grids[book]) == 2]
    if not planes:
        return {}
    here, above = joined([p[1:].ravel() for p in planes]), joined([p[:-1].ravel() for p in planes])
    inner = [joined([p[a, b].ravel() for p in planes]) for a, b in _CORNERS]
    return {"H2 given the id above": conditional(here, above), "H3 given the ids above and to the left": conditional(*inner)}


#: An id, the one above it and the one to the left of it, of all that have both.
_CORNERS = ((slice(1, None), slice(1, None)), (slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1)))


def _codebooks(items: Sequence[Item], book: int) -> dict[str, Conditional | None]:
    """Given the codebooks before it at the same position."""
    out: dict[str, Conditional | None] = {}
    for number, name in ((1, "H2 given the codebook before"), (2, "H3 given the two codebooks before")):
        if book < number:
            continue
        rows = [(item.ids[book], *(item.at(book, book - i) for i in range(1, number + 1))) for item in items]
        whole = [row for row in rows if all(column is not None for column in row)]
        if whole:
            out[name] = conditional(*(joined(list(column)) for column in zip(*whole, strict=True)))
    return out
