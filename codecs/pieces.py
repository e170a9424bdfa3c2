"""Long media in pieces: which parts of an axis go through the network one after the other, and what is kept of each.

Every position depends on `context` positions on either side. So a piece is computed together with that many neighbours, and only
its own positions are kept; the concatenated pieces then equal the result of the whole:

    axis     |--------------------------------------|
    piece            left   start   stop   right
                      |......|=======|......|            `left..right` is computed, `start..stop` is kept

The axis is time, or the height or width of a picture. Where a network passes its state on from piece to piece, `context` is 0.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")


class Span(NamedTuple):
    """One piece of an axis, in positions."""

    start: int
    stop: int
    left: int
    right: int

    def kept(self, x: Tensor, rate: int = 1, *, axis: int = -1) -> Tensor:
        """The entries of `start..stop` in `x`, which has `rate` entries a position from `left` on; all of `x` without context."""
        if (self.left, self.right) == (self.start, self.stop):
            return x
        begin, end = (min((at - self.left) * rate, x.shape[axis]) for at in (self.start, self.stop))
        return x.narrow(axis, begin, end - begin)


def spans(count: int, size: int, context: int) -> list[Span]:
    """Pieces of `size` positions of an axis of `count`, the last one shorter, with up to `context` more on either side."""
    return [Span(s, min(s + size, count), max(0, s - context), min(s + size + context, count)) for s in range(0, count, size)]


def plan(count: int, size: int | None, context: int | None, *, multiple: int = 1) -> list[Span]:
    """The pieces of an axis of `count` positions; the whole axis as one piece where cutting is not possible or saves nothing.

    Args:
        count: positions of the axis.
        size: positions of a piece; None: never cut.
        context: positions on either side that a position depends on; None: it depends on all, so the axis is not cut.
        multiple: pieces begin at multiples of this (`size` is rounded down to one, but not to 0).
    """
    if size is not None and context is not None:
        size = max(1, size // multiple) * multiple
        if count > size + 2 * context:
            return spans(count, size, context)
    return [Span(0, count, 0, count)]


def along(pieces: list[Span], cut: Callable[[int, int], Part], run: Callable[[Part], Tensor], rate: int = 1) -> Iterator[Tensor]:
    """Yield the kept output of `run` for each piece along the last axis; concatenated, these are the output of the whole.

    Args:
        pieces: from `plan`.
        cut: returns the input of `left..right`.
        run: the network.
        rate: output entries for each position.
    """
    for piece in pieces:
        yield piece.kept(run(cut(piece.left, piece.right)), rate)


def over(
    rows: list[Span], columns: list[Span], cut: Callable[[Span, Span], Part], run: Callable[[Part, Span, Span], Tensor], rate: int = 1
) -> Tensor:
    """The output of `run` for each tile of a picture, put together along the last two axes.

    Args:
        rows, columns: pieces of the two axes, from `plan`.
        cut: returns the input of a tile, `left..right` of its row and of its column.
        run: the network; its arguments are that input, the row and the column.
        rate: output entries for each position, along each axis.
    """
    lines = []
    for row in rows:
        tiles = [run(cut(row, column), row, column) for column in columns]
        kept = [column.kept(row.kept(y, rate, axis=-2), rate) for y, column in zip(tiles, columns, strict=True)]
        lines.append(kept[0] if len(kept) == 1 else torch.cat(kept, dim=-1))
    return lines[0] if len(lines) == 1 else torch.cat(lines, dim=-2)
