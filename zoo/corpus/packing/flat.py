"""Patterns of one id a step: a schedule gives the codebook and position of each step; its inverse follows from it.

Letters: K codebooks, n positions of an item, N steps between begin and end token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Packing
from .results import Grid, Problem, Read, beginning

#: In place of a codebook in a schedule: the special token `end_row`.
END_ROW = -1


@dataclass(frozen=True)
class Layout:
    """How much one item holds: its positions, and its `(h, w)` or `(t, h, w)` where it is a grid."""

    positions: int
    grid: Grid | None = None


class FlatPacking(Packing):
    """Base: a pattern writes `schedule` and, where it is not frame after frame, `layouts`."""

    #: the schedule of some positions is the beginning of that of more.
    grows = False

    def schedule(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """What stands at each step of an item.

        Returns:
            (book, position), int64 `[N]` each. For `END_ROW` steps the position is the last one of their row.
        """
        raise NotImplementedError

    def layouts(self, own: Tensor, book: Tensor, ids: Tensor) -> Sequence[Layout]:
        """What an item may hold that came as `ids` `[N]`, likely ones first; the one most ids agree with is taken.

        Args:
            own, book: the same as ids of the tokenizer and their codebooks, -1 where they are none.
            ids: ids of the vocabulary.
        """
        return [Layout(-(-len(ids) // len(self.books.vocab_sizes)))]

    def _write(self, ids: Tensor, grid: Grid | None) -> tuple[Tensor, Tensor]:
        book, position = self.schedule(Layout(ids.shape[1], grid))
        book, position = book.to(ids.device), position.to(ids.device)
        content = ids[book.clamp(min=0), position]
        content = torch.where(book == END_ROW, self.special["end_row"], content)
        parts = [ids.new_tensor([self.begin_id]), content, ids.new_tensor([self.end_id] if self.config.end else [])]
        row = torch.cat(parts)
        counts = torch.ones_like(row, dtype=torch.bool)
        counts[0] = self.config.learn_begin
        return row, counts

    def steps_of(self, positions: int, grid: Grid | None = None) -> Tensor:
        book, position = self.schedule(Layout(positions, grid))
        held = book != END_ROW
        steps = torch.zeros(len(self.books.vocab_sizes), positions, dtype=torch.int64)
        steps[book[held], position[held]] = held.nonzero()[:, 0] + 1
        return self._spread(steps)

    def _read(self, ids: Tensor, item: int) -> Read:
        start, stop = self._window(ids)
        content = ids[start:stop]
        own, book = self.vocabulary.from_ids(self.config.tokenizer, content)
        best, bad = self._best(own, book, content)
        want, position = (t.to(ids.device) for t in self.schedule(best))
        present = min(len(content), len(want))
        problems = [
            self._problem(item, start + i, int(content[i]), int(want[i]) if i < present else None) for i in bad.tolist()
        ]
        closed = stop < len(ids) and int(ids[stop]) == self.end_id
        # The prefix ends before the first position that has a step out of place or missing.
        lost = torch.cat([position[bad[bad < present]], position[present:]])
        n = min([best.positions, *lost.tolist()])
        if closed and not problems and self.decodable_in(best, n) != best.positions:
            message = f"the medium ends inside a unit, after {present} of {len(want)} steps"
            problems.append(Problem(item, stop, self.end_id, message))
        n = self.decodable_in(best, n)
        out = torch.zeros(len(self.books.vocab_sizes), n, dtype=torch.int64, device=ids.device)
        keep = (position[:present] < n) & (want[:present] >= 0)
        out[want[:present][keep], position[:present][keep]] = own[:present][keep]
        grid = best.grid
        if grid is not None and n < best.positions:
            grid = beginning(grid, n)
        whole = not problems and n == best.positions
        return Read(self._spread(out), grid, tuple(problems), closed if self.config.end else whole)

    def decodable_in(self, layout: Layout, positions: int) -> int:
        """As `decodable`, of an item with this layout: whole rows of a grid, or frames."""
        return self.decodable(positions)

    def _spread(self, ids: Tensor) -> Tensor:
        """Fill positions `[K, n]` that share one id with another; only multi-rate layouts have such."""
        return ids

    def _window(self, ids: Tensor) -> tuple[int, int]:
        """First step after the begin token, and the step of the first end or pad token after it (or the end)."""
        begin = (ids == self.begin_id).nonzero()
        start = int(begin[0]) + 1 if len(begin) else 0
        over = ((ids[start:] == self.end_id) | (ids[start:] == self.pad_id)).nonzero()
        return start, start + int(over[0]) if len(over) else len(ids)

    def _best(self, own: Tensor, book: Tensor, ids: Tensor) -> tuple[Layout, Tensor]:
        """The layout that most ids agree with, and the steps (int64) that do not agree with it."""
        best: tuple[int, Layout, Tensor] | None = None
        for layout in self.layouts(own, book, ids):
            want = self.schedule(layout)[0].to(ids.device)
            present = min(len(ids), len(want))
            row = (want[:present] == END_ROW) & (ids[:present] == self.special["end_row"])
            fits = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)  # ids past the schedule fit nowhere
            fits[:present] = row | ((want[:present] == book[:present]) & (book[:present] >= 0))
            score = int(fits.sum())
            if best is None or score > best[0]:
                best = (score, layout, (~fits).nonzero()[:, 0])
        assert best is not None, "layouts() gave none"
        return best[1], best[2]

    def _problem(self, item: int, position: int, found: int, book: int | None) -> Problem:
        """`book`: the codebook that belongs here, `END_ROW`, or None past the end of the schedule."""
        if book is None:
            want = "the end token"
        elif book == END_ROW:
            want = "the special 'end_row'"
        else:
            want = f"{self.config.tokenizer} codebook {book}"
        return Problem(item, position, found, f"expected {want}, found {self.vocabulary.describe(found)}")


def frames(books: Sequence[int], positions: int) -> tuple[Tensor, Tensor]:
    """(book, position) of frame after frame, the `books` of each frame in their order; int64 `[len(books) * positions]`."""
    book = torch.tensor(list(books), dtype=torch.int64).repeat(positions)
    return book, torch.arange(positions).repeat_interleave(len(books))
