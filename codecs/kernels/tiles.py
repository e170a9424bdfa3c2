"""Layers over a picture that is too large to be computed at once: piece by piece, with the same result as the whole.

A convolution needs a margin around each piece. GroupNorm needs means and variances over the whole picture, and those of the
second norm can only be measured once those of the first are known. So every run computes all pieces as far as the first norm
whose statistics are missing, and gathers these there; the last run computes all layers. A stage of n norms needs n + 1 runs, of
half the layers on average, and the memory of one piece besides its input and output.

Letters: B batch, C channels, H W positions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from .mode import empty_like_layout
from .norm import channel_moments, statistics_from

#: (height, width) of a picture, in positions.
Size = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """Part of a picture, in positions.

    Attributes:
        top, bottom, left, right: rows `top..bottom - 1` and columns `left..right - 1`, whose outputs are kept.
        outer: (top, bottom, left, right) of the part with its margin, which is computed.
    """

    top: int
    bottom: int
    left: int
    right: int
    outer: tuple[int, int, int, int]

    def cut(self, x: Tensor, size: Size) -> Tensor:
        """The piece with its margin, of `x [B, C, H', W']`, whose H', W' are multiples or divisors of `size`."""
        return _crop(x, self.outer, size)

    def inside(self, x: Tensor) -> Tensor:
        """The part without the margin of `x [B, C, h, w]`, which covers the piece with its margin at any scale."""
        t, b, l, r = self.outer
        return _crop(x, (self.top - t, self.bottom - t, self.left - l, self.right - l), (b - t, r - l))

    def place(self, x: Tensor, size: Size) -> Tensor:
        """The view of the piece without its margin in `x [B, C, H', W']`, to write its output to."""
        return _crop(x, (self.top, self.bottom, self.left, self.right), size)


def pieces(size: Size, side: int, margin: int) -> Iterator[Piece]:
    """All pieces of `side` x `side` positions (the last ones smaller) of a picture of `size`, with margins of up to `margin`."""
    spans = []
    for length in size:
        starts = range(0, length, side)
        spans.append([(s, min(s + side, length), max(0, s - margin), min(s + side + margin, length)) for s in starts])
    for (top, bottom, t, b), (left, right, l, r) in product(*spans):
        yield Piece(top, bottom, left, right, (t, b, l, r))


_current: ContextVar[tuple[Piece, Size] | None] = ContextVar("piece", default=None)


@contextmanager
def _running(piece: Piece, size: Size) -> Iterator[None]:
    token = _current.set((piece, size))
    try:
        yield
    finally:
        _current.reset(token)


def beside(map: Tensor) -> Tensor:
    """Cut a feature map `[B, C, H', W']` of the whole picture to the piece that is being computed; outside `in_pieces` all of it.

    For layers that take a second map besides their input. Pieces begin at its positions: see `align` of `in_pieces`.
    """
    current = _current.get()
    return map if current is None else current[0].cut(map, current[1])


def in_pieces(
    stage: Callable[[Tensor], Tensor], x: Tensor, *, side: int, margin: int, align: int, up: int = 1, down: int = 1
) -> Tensor:
    """`stage(x)` of `x [B, C, H, W]`, computed in pieces; equal to the result at once up to rounding.

    Args:
        stage: function of convolutions and `GroupNorm`s; it is called with one piece and its margin.
        x: the whole input; H and W are multiples of `align`.
        side: side of the pieces, in positions of `x`.
        margin: positions of `x` on each side that an output depends on.
        align: pieces and margins start at multiples of this; itself a multiple of `down`.
        up, down: the output has `up / down` times the height and width of `x`.

    Returns:
        `[B, C', H up / down, W up / down]`.
    """
    size, moments, out = (x.shape[-2], x.shape[-1]), _Moments(), None
    side, margin = max(align, side // align * align), -(-margin // align) * align
    while True:
        for piece in pieces(size, side, margin):
            moments.begin(piece)
            try:
                with statistics_from(moments), _running(piece, size):
                    y = piece.inside(stage(piece.cut(x, size)))
            except _Missing:
                continue
            if out is None:
                out = empty_like_layout(y, len(x), y.shape[1], size[0] * up // down, size[1] * up // down)
            piece.place(out, size).copy_(y)
        if not moments.close():
            assert out is not None
            return out


class _Missing(Exception):
    """The statistics of this norm are not known yet, so that the layers after it cannot be computed."""


class _Moments:
    """Statistics of the norms of a stage, in the order in which the norms are evaluated."""

    def __init__(self) -> None:
        self.known: list[tuple[Tensor, Tensor]] = []
        self.gathered: tuple[int, Tensor, Tensor] | None = None  # positions, mean, sum of squared deviations [B, C]

    def begin(self, piece: Piece) -> None:
        """Call this before `stage` is called with `piece`."""
        self.piece, self.evaluated = piece, 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel over the whole picture; if not known, count in `x [B, C, h, w]` and raise `_Missing`."""
        self.evaluated += 1
        if self.evaluated <= len(self.known):
            return self.known[self.evaluated - 1]
        x = self.piece.inside(x)
        count, (mean, variance) = x.shape[-2] * x.shape[-1], channel_moments(x)
        squares = variance * count
        if self.gathered is not None:  # Chan, Golub and LeVeque 1979: joining two sets
            before, old_mean, old_squares = self.gathered
            total, step = before + count, mean - old_mean
            mean = old_mean + step * (count / total)
            squares, count = squares + old_squares + step.square() * (before * count / total), total
        self.gathered = (count, mean, squares)
        raise _Missing

    def close(self) -> bool:
        """Call this after each run over all pieces; True if another run is needed."""
        if self.gathered is None:
            return False
        count, mean, squares = self.gathered
        self.known.append((mean, squares / count))
        self.gathered = None
        return True


def _crop(x: Tensor, box: tuple[int, int, int, int], size: Size) -> Tensor:
    """The part of `x [B, C, H', W']` that corresponds to `box` (top, bottom, left, right) in a picture of `size`."""
    (t, b, l, r), (h, w), (rows, columns) = box, size, x.shape[-2:]
    return x[..., t * rows // h : b * rows // h, l * columns // w : r * columns // w]
