"""Mutual information of ids that are a distance apart, and of codebooks at one position."""

from collections.abc import Sequence

import numpy as np

from .counting import Mutual, joined, mutual_information
from .sources import Item

#: Positions apart, as far as items reach.
DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
#: Pairs of ids below which a distance is left out.
FEWEST = 100
#: Codebooks of which all pairs are looked at: the first ones.
BOOKS = 16


def over_distance(items: Sequence[Item], book: int, order: str) -> dict[str, dict[int, Mutual]]:
    """By direction ("along rows", "along columns", or "in time", "in sequence") and distance in positions.

    Args:
        items: of a sample.
        book: number of the codebook.
        order: what the order along an item is called.
    """
    planes = order == "raster"
    shapes = [item.ids[book].reshape(item.grids[book] if planes else -1) for item in items]
    axes = {"along columns": -2, "along rows": -1} if planes else {f"in {order}": -1}
    found = {name: _along([s for s in shapes if s.ndim >= -axis], axis) for name, axis in axes.items()}
    return {name: values for name, values in found.items() if values}


def _along(shapes: Sequence[np.ndarray], axis: int) -> dict[int, Mutual]:
    out = {}
    for distance in DISTANCES:
        first, second = [], []
        for x in shapes:
            turned = np.moveaxis(x, axis, 0)
            first.append(turned[:-distance].ravel())
            second.append(turned[distance:].ravel())
        a, b = joined(first), joined(second)
        found = mutual_information(a, b) if len(a) >= FEWEST else None
        if found is not None:
            out[distance] = found
    return out


def of_codebooks(items: Sequence[Item], books: int) -> dict[str, Mutual]:
    """Of pairs of codebooks at the same positions, by "j, k" with j below k; codebooks with grids of their own are left out."""
    out = {}
    for j in range(min(books, BOOKS)):
        for k in range(j + 1, min(books, BOOKS)):
            pairs = [(item.at(k, j), item.ids[k]) for item in items]
            kept = [(a, b) for a, b in pairs if a is not None]
            found = mutual_information(joined([a for a, _ in kept]), joined([b for _, b in kept]))
            if found is not None:
                out[f"{j}, {k}"] = found
    return out
