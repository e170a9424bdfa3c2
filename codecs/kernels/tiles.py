"""Layers over a picture that is too large to go through at once, piece by piece, with the result of the whole.

A convolution needs a margin around each piece. GroupNorm needs means and variances over the whole picture, and those of the
second norm can only be measured once the first is known. So all pieces go as far as the first norm whose statistics are
missing, where these are gathered; then all go as far as the next; and the last time all go through. A stage of n norms
costs up to n + 1 runs, on average half of one each, and the memory of one piece beside its input and output.

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

#: Height and width, in positions.
Size = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """Part of a picture, in positions: `top..bottom`, `left..right` is kept of what the same with its margin gives."""

    top: int
    bottom: int
    left: int
    right: int
    outer: tuple[int, int, int, int]

    def cut(self, x: Tensor, size: Size) -> Tensor:
        """The piece with its margin, of `x [B, C, H', W']`, whose H', W' are multiples or divisors of `size`."""
        return _crop(x, self.outer, size)

    def inside(self, x: Tensor) -> Tensor:
        """What is kept of `x [B, C, h, w]`, which covers the piece with its margin at any scale."""
        t, b, l, r = self.outer
        return _crop(x, (self.top - t, self.bottom - t, self.left - l, self.right - l), (b - t, r - l))

    def place(self, x: Tensor, size: Size) -> Tensor:
        """The view of `x [B, C, H', W']` that the piece fills."""
        return _crop(x, (self.top, self.bottom, self.left, self.right), size)


def pieces(size: Size, side: int, margin: int) -> Iterator[Piece]:
    """All pieces of a picture of `size`."""
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
    """The part of a feature map of the whole picture that covers the piece which layers are run over; where none is, all of it.

    For layers that take a second map beside their input. Pieces begin at its positions: see `align` of `in_pieces`.
    """
    current = _current.get()
    return map if current is None else current[0].cut(map, current[1])


def in_pieces(
    stage: Callable[[Tensor], Tensor], x: Tensor, *, side: int, margin: int, align: int, up: int = 1, down: int = 1
) -> Tensor:
    """`stage` of `x [B, C, H, W]`, equal to what it gives at once up to rounding.

    Args:
        stage: convolutions and `GroupNorm` over one piece, which it gets with its margin.
        x: the whole input; H and W are multiples of `align`.
        side: of the pieces, in positions of `x`.
        margin: positions of `x` on each side that an output depends on.
        align: what pieces and margins start at multiples of; itself a multiple of `down`.
        up, down: the output has `up / down` times the height and width.

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
    """The pieces cannot go on before the statistics of this norm are known."""


class _Moments:
    """Statistics of the norms of a stage, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.known: list[tuple[Tensor, Tensor]] = []
        self.gathered: tuple[int, Tensor, Tensor] | None = None  # positions, mean, sum of squared deviations [B, C]

    def begin(self, piece: Piece) -> None:
        """A piece starts at the first layer."""
        self.piece, self.asked = piece, 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel over the whole picture, or `_Missing`, after `x` is counted in."""
        self.asked += 1
        if self.asked <= len(self.known):
            return self.known[self.asked - 1]
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
        """All pieces have gone as far as they could; whether that was not yet the end."""
        if self.gathered is None:
            return False
        count, mean, squares = self.gathered
        self.known.append((mean, squares / count))
        self.gathered = None
        return True


def _crop(x: Tensor, box: tuple[int, int, int, int], size: Size) -> Tensor:
    """The part of `x [B, C, H', W']` that `box` (top, bottom, left, right) is of `size`."""
    (t, b, l, r), (h, w), (rows, columns) = box, size, x.shape[-2:]
    return x[..., t * rows // h : b * rows // h, l * columns // w : r * columns // w]
