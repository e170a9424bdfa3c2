"""Which ids a packing can go on with: after any number of steps, the ranges of ids that `unpack` takes at the next one.

A cursor stands in one sequence. With the number of positions (or the grid) fixed beforehand it follows the pattern's schedule; without,
the sequence ends where a whole number of positions is complete. Letters: K codebooks, n positions, S steps.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from .bpe import BpePacking
from .clips import ClipsPacking
from .coarse_first import CoarseFirstPacking
from .flat import END_ROW, FlatPacking, Layout
from .raster import RasterPacking
from .results import Grid, plane, solid
from .streams import StreamPacking

if TYPE_CHECKING:
    from .base import Packing

#: Ids `start .. stop - 1`.
IdRange = tuple[int, int]


class Cursor:
    """A place in a sequence: what may come next, and the place after an id; never changed."""

    def allowed(self) -> tuple[IdRange, ...]:
        """Ranges of the ids that may come."""
        raise NotImplementedError

    def after(self, index: int) -> "Cursor":
        """The place after this id, one of those that are allowed."""
        raise NotImplementedError

    def takes(self, index: int) -> bool:
        """Whether this id may come."""
        return any(start <= index < stop for start, stop in self.allowed())


@dataclass(frozen=True)
class Over(Cursor):
    """After the end: padding."""

    pad: int

    def allowed(self) -> tuple[IdRange, ...]:
        return ((self.pad, self.pad + 1),)

    def after(self, index: int) -> Cursor:
        return self


class _Ranges:
    """Ranges of ids of a packing: of its codebooks and special tokens."""

    def __init__(self, packing: "Packing") -> None:
        name, vocabulary = packing.config.tokenizer, packing.vocabulary
        sizes = packing.books.vocab_sizes
        self.books = [(start, start + size) for start, size in zip(vocabulary.offsets(name), sizes, strict=True)]
        self.end = ((packing.end_id, packing.end_id + 1),) if packing.config.end else ()
        self.end_id, self.over = packing.end_id, Over(packing.pad_id)
        row = packing.special["end_row"]
        self.end_row = (row, row + 1)

    def of(self, book: int) -> IdRange:
        return self.end_row if book == END_ROW else self.books[book]


@dataclass(frozen=True)
class Scheduled(Cursor):
    """A sequence whose codebooks are known step by step; `ends`, rising: numbers of steps after which it may be over."""

    ranges: _Ranges
    books: Sequence[int]
    ends: Sequence[int]
    step: int = 0

    def allowed(self) -> tuple[IdRange, ...]:
        at = bisect_left(self.ends, self.step)
        may_end = at < len(self.ends) and self.ends[at] == self.step
        more = (self.ranges.of(self.books[self.step]),) if self.step < len(self.books) else ()
        over = (self.ranges.end or self.ranges.over.allowed()) if may_end and (self.ranges.end or not more) else ()
        return more + over

    def after(self, index: int) -> Cursor:
        if self.step >= len(self.books) or (self.ranges.end and index == self.ranges.end_id):
            return self.ranges.over
        return replace(self, step=self.step + 1)


class Growing(Cursor):
    """A pattern whose schedule of n positions begins that of more: units repeat until the end token comes after a whole one."""

    def __init__(self, packing: FlatPacking, ranges: _Ranges, step: int = 0) -> None:
        self.packing, self.ranges, self.step = packing, ranges, step

    def _plan(self) -> Scheduled:
        per_position = len(self.packing.books.vocab_sizes)
        most = self.packing.decodable(1 << 40)
        positions = 1 << (self.step + 2 * per_position).bit_length()
        positions = most if most < positions else self.packing.decodable(max(positions, 4096))
        return _plan(self.packing, self.ranges, positions)

    def allowed(self) -> tuple[IdRange, ...]:
        return replace(self._plan(), step=self.step).allowed()

    def after(self, index: int) -> Cursor:
        if self.ranges.end and index == self.ranges.end_id:
            return self.ranges.over
        return Growing(self.packing, self.ranges, self.step + 1)


def _plan(packing: FlatPacking, ranges: _Ranges, positions: int) -> Scheduled:
    """The schedule of this many positions, with every number of steps that holds a decodable number of positions, from 1."""
    known = packing.__dict__.setdefault("_plans", {})
    if positions not in known:
        book, position = packing.schedule(Layout(positions))
        until = torch.bincount(position, minlength=positions).cumsum(0).tolist()
        ends = [until[n - 1] for n in range(1, positions + 1) if packing.decodable(n) == n]
        known[positions] = Scheduled(ranges, book.tolist(), ends)
    return known[positions]


@dataclass(frozen=True)
class Rows(Cursor):
    """Rows of one codebook with row ends: the first row sets the width; of `clips` the first frame sets the height.

    `rows` are those of the frame so far.
    """

    ranges: _Ranges
    width: int = 0
    column: int = 0
    rows: int = 0
    clips: bool = False
    height: int = 0

    def allowed(self) -> tuple[IdRange, ...]:
        if self.column == 0:
            whole = self.rows > 0 and self.rows == (self.height or self.rows)
            row = (self.ranges.of(0),) if self.rows != self.height or not self.height else ()
            return (*row, *((self.ranges.end_row,) if whole and self.clips else ()), *(self.ranges.end if whole else ()))
        if self.width:
            return (self.ranges.of(0) if self.column < self.width else self.ranges.end_row,)
        return (self.ranges.of(0), self.ranges.end_row)

    def after(self, index: int) -> Cursor:
        if self.ranges.end and index == self.ranges.end_id:
            return self.ranges.over
        if index == self.ranges.end_row[0] and self.column == 0:
            return replace(self, rows=0, height=self.rows)
        if index == self.ranges.end_row[0]:
            return replace(self, width=self.column, column=0, rows=self.rows + 1)
        return replace(self, column=self.column + 1)


@dataclass(frozen=True)
class FirstGroup(Cursor):
    """`coarse_first` before its second group: that group's first id fixes the number of positions."""

    packing: CoarseFirstPacking
    ranges: _Ranges
    step: int = 0

    def allowed(self) -> tuple[IdRange, ...]:
        size = self.packing.groups[0]
        whole = self.step % size == 0 and self.step > 0
        return (self.ranges.of(self.step % size), *((self.ranges.of(size),) if whole else ()))

    def after(self, index: int) -> Cursor:
        size = self.packing.groups[0]
        start, stop = self.ranges.of(size)
        if not start <= index < stop:
            return replace(self, step=self.step + 1)
        return replace(_fixed(self.packing, self.ranges, Layout(self.step // size)), step=self.step + 1)


def _fixed(packing: FlatPacking, ranges: _Ranges, layout: Layout) -> Scheduled:
    """The schedule of exactly this layout."""
    books = packing.schedule(layout)[0].tolist()
    return Scheduled(ranges, books, (len(books),))


@dataclass(frozen=True)
class Merged(Cursor):
    """Any of these over merged ids: one may come if all that it stands for may come one after the other."""

    packing: BpePacking
    inner: Cursor

    def allowed(self) -> tuple[IdRange, ...]:
        # what may come follows from codebooks alone, so one merge stands for all of the same codebooks
        found = [m for same in self.packing.alike.values() if self._through(self.packing.parts[same[0]]) is not None for m in same]
        first = self.packing.merged_id
        return (*self.inner.allowed(), *((first + m, first + m + 1) for m in found))

    def after(self, index: int) -> Cursor:
        merge = index - self.packing.merged_id
        if not 0 <= merge < len(self.packing.parts):
            return replace(self, inner=self.inner.after(index))
        inner = self._through(self.packing.parts[merge])
        assert inner is not None, "this merged id may not come here"
        return replace(self, inner=inner)

    def _through(self, parts: Sequence[int]) -> Cursor | None:
        """The inner place after the ids of a merge; None where one of them may not come."""
        at = self.inner
        for symbol in parts:
            index = symbol + self.packing.first_id
            if not at.takes(index):
                return None
            at = at.after(index)
        return at


def cursor(packing: "Packing", *, positions: int | None = None, grid: Grid | None = None) -> Cursor:
    """The place after the begin token of a sequence of one id a step.

    Args:
        packing: the pattern.
        positions: of the item; None: as many as the ids choose.
        grid: `(h, w)`, of clips `(t, h, w)`, in place of `positions`.

    Raises:
        ValueError: positions that the pattern does not take, or none where it needs them.
    """
    if isinstance(packing, BpePacking):
        return Merged(packing, cursor(packing.inner, positions=positions, grid=grid))
    if not isinstance(packing, FlatPacking):
        raise ValueError(f"{packing.config.kind} packing has no order of single ids; see `Streams`.")
    ranges = _Ranges(packing)
    own = packing.config.grid if isinstance(packing, RasterPacking | ClipsPacking) else None
    grid = own if grid is None and positions is None else grid
    if grid is not None:
        positions = math.prod(grid) if positions is None else positions
    if positions is not None:
        check_positions(packing, positions, grid)
        return _fixed(packing, ranges, Layout(positions, None if grid is None else tuple(plane(grid))))
    if isinstance(packing, RasterPacking | ClipsPacking) and packing.config.row_ends:
        return Rows(ranges, clips=isinstance(packing, ClipsPacking))
    if isinstance(packing, CoarseFirstPacking) and len(packing.groups) > 1:
        return FirstGroup(packing, ranges)
    if not packing.grows:
        raise ValueError(f"{packing.config.kind} packing does not say where a sequence of any length may end; give `positions`.")
    return Growing(packing, ranges)


def check_positions(packing: "Packing", positions: int, grid: Grid | None) -> None:
    """Raise ValueError for numbers that do not belong together, or that the pattern does not take."""
    if positions < 1 or (grid is not None and math.prod(grid) != positions):
        raise ValueError(f"positions is {positions} and grid {grid}; give one or more positions, as many as the grid has.")
    if packing.decodable(positions) != positions:
        near = packing.decodable(positions)
        raise ValueError(f"{packing.config.kind} packing of {positions} positions ends inside a unit; {near} would be whole.")
    if isinstance(packing, RasterPacking | ClipsPacking):
        kind, own, clips = packing.config.kind, packing.config.grid, isinstance(packing, ClipsPacking)
        form = "(t, h, w)" if clips else "(h, w)"
        if grid is not None and len(plane(grid)) not in ((2, 3) if clips else (2,)):
            raise ValueError(f"{kind} packing takes grids {form}; got {grid}.")
        if own is not None and ((grid is not None and solid(grid) != solid(own)) or math.prod(own) != positions):
            raise ValueError(f"{kind} packing is set for the grid {own}; got positions {positions} and grid {grid}.")
        if packing.config.row_ends and grid is None and own is None:
            raise ValueError(f"{kind} packing with row ends needs the grid {form} in place of positions.")


class Streams:
    """What may come next in each row of a pattern of K ids a step.

    The first row with the smallest delay chooses where the item ends, unless `positions` says so; the others follow.

    Raises:
        ValueError: rows that would have to end at the same step, without `positions`.
    """

    def __init__(self, packing: StreamPacking, positions: int | None = None) -> None:
        self.packing, self.positions, self.ranges = packing, positions, _Ranges(packing)
        self.leader = packing.delays.index(0)
        if positions is None and packing.config.end and packing.delays.count(0) > 1:
            raise ValueError(f"several rows of this {packing.config.kind} packing end at the same step and cannot agree on one; "
                             "give `positions`.")  # fmt: skip
        if positions is not None:
            check_positions(packing, positions, None)

    def allowed(self, content: Sequence[Sequence[int]]) -> list[tuple[IdRange, ...]]:
        """Ranges for each row, given the ids after the begin tokens, `[K][S]`."""
        step = len(content[0])
        n = self.positions
        if n is None and self.packing.end_id in content[self.leader]:
            n = content[self.leader].index(self.packing.end_id)
        empty = ((self.packing.empty_id, self.packing.empty_id + 1),)
        out: list[tuple[IdRange, ...]] = []
        for k, delay in enumerate(self.packing.delays):
            at = step - delay
            if n is not None and step >= n + max(self.packing.delays) + self.packing.config.end:
                out.append(self.ranges.over.allowed())
            elif at < 0 or (n is not None and at >= n + self.packing.config.end):
                out.append(empty)
            elif n is not None:
                out.append((self.ranges.of(k),) if at < n else self.ranges.end)
            else:
                out.append((self.ranges.of(k), *(self.ranges.end if k == self.leader and at > 0 else ())))
        return out
