"""Rows of a stream that pause, end and begin on their own: rows that have come equally far go through the layers together.

Letters: B rows of the stream, C channels or codebooks, T samples or frames.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kernels.stream import State, join_rows, progress, select_rows

#: One bool for each row.
Rows = Tensor | Sequence[bool]


@dataclass(eq=False)
class Lane:
    """Rows that have come equally far.

    Attributes:
        rows: their numbers in the stream.
        state: of the layers, its batch in the order of `rows`.
        rest: samples or ids `[len(rows), C, T]` that wait for more; None before the first ones, and after the end.
        pending: samples that came and that no returned frame covers yet.
    """

    rows: list[int]
    state: State
    rest: Tensor | None = None
    pending: int = 0

    def take(self, x: Tensor, multiple: int) -> Tensor:
        """Those of `rest` and `x`, in order, that fill whole multiples; the others are kept."""
        x = x if self.rest is None else torch.cat([self.rest, x], dim=-1)
        whole = x.shape[-1] - x.shape[-1] % multiple
        self.rest = x[..., whole:]
        return x[..., :whole]

    def progress(self) -> Hashable:
        """How far the rows have come: equal for lanes that can be joined."""
        return self.pending, None if self.rest is None else self.rest.shape[1:], progress(self.state)

    def part(self, places: list[int]) -> "Lane":
        """Some of its rows, by their places in `rows`."""
        rest = None if self.rest is None else self.rest[places]
        return Lane([self.rows[p] for p in places], select_rows(self.state, places), rest, self.pending)


class Lanes:
    """All rows of one direction of a stream.

    Args:
        state_class: of the states.
    """

    def __init__(self, state_class: type[State]) -> None:
        self.state_class = state_class
        self.lanes: list[Lane] = []
        self.count = 0

    def open(self, count: int, what: str) -> None:
        """Begin with `count` rows; later calls check that it is the same number."""
        if not self.lanes:
            self.lanes, self.count = [Lane(list(range(count)), self.state_class())] if count else [], count
        elif count != self.count:
            raise ValueError(f"{what} got {count} rows; this stream has {self.count}. Start another stream, or pause rows.")

    def split(self, keys: Sequence[Any]) -> list[Lane]:
        """The lanes, cut up so that the rows of each have one key.

        Args:
            keys: one for each row.
        """
        out: list[Lane] = []
        for lane in self.lanes:
            places: dict[Any, list[int]] = {}
            for place, row in enumerate(lane.rows):
                places.setdefault(keys[row], []).append(place)
            out += [lane] if len(places) == 1 else [lane.part(p) for p in places.values()]
        self.lanes = out
        return out

    def merge(self) -> None:
        """Join lanes that have come equally far."""
        if len(self.lanes) == 1:
            return
        groups: dict[Hashable, list[Lane]] = {}
        for lane in self.lanes:
            groups.setdefault(lane.progress(), []).append(lane)
        self.lanes = [_joined(group) for group in groups.values()]

    def reset(self, chosen: Sequence[bool]) -> None:
        """Forget all that came for the chosen rows; one bool for each row."""
        lanes = [lane if not chosen[lane.rows[0]] else Lane(lane.rows, self.state_class()) for lane in self.split(chosen)]
        self.lanes = lanes
        self.merge()


def _joined(lanes: Sequence[Lane]) -> Lane:
    """One lane of all rows, in their order."""
    head = lanes[0]
    if len(lanes) == 1:
        return head
    rests = [lane.rest for lane in lanes if lane.rest is not None]
    rows = [row for lane in lanes for row in lane.rows]
    whole = Lane(rows, join_rows([lane.state for lane in lanes]), torch.cat(rests) if rests else None, head.pending)
    return whole.part(sorted(range(len(rows)), key=rows.__getitem__))


def rows_of(chosen: Rows | None, count: int) -> list[bool]:
    """One bool for each of `count` rows; None: True for all.

    Raises:
        ValueError: another number of them, or other values than True and False.
    """
    if chosen is None:
        return [True] * count
    out = chosen.tolist() if isinstance(chosen, Tensor) else list(chosen)
    if len(out) != count or not all(isinstance(v, bool) for v in out):
        raise ValueError(f"expected {count} values True or False, one for each row of the stream; got {str(out)[:80]}.")
    return out
