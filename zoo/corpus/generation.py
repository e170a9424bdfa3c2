"""`PackingLogitsProcessor`: a language model of transformers draws only ids that a packing can go on with.

    processor = PackingLogitsProcessor(data.packing, positions=250)          # or grid=(h, w), or neither
    ids = model.generate(prompt, logits_processor=[processor], do_sample=True, max_new_tokens=..., eos_token_id=packing.end_id)
    tokens = data.packing.unpack(ids).tokens                                 # without problems

It has the call of `transformers.LogitsProcessor` and needs nothing of that package. Letters: B sequences, K codebooks, S steps, V ids.
"""

import torch
from torch import Tensor

from .packing.base import Packing
from .packing.next_ids import Cursor, IdRange, Streams, cursor
from .packing.results import Grid
from .packing.streams import StreamPacking

__all__ = ["PackingLogitsProcessor"]


class PackingLogitsProcessor:
    """Gives all ids that the packing does not expect next the logit -inf.

    Before the begin token of the medium, which the prompt may hold, only that token may come; after the end token only padding.
    Of several media in one prompt the last one goes on.

    Args:
        packing: pattern of the ids.
        positions: of each item; None: the model chooses where to end, at whole positions.
        grid: `(h, w)` of each picture, or `(t, h, w)` of each clip, in place of `positions`.

    Raises:
        ValueError: positions that the pattern does not take, or none where it needs them; a grid for a pattern of K ids a step.
    """

    def __init__(self, packing: Packing, *, positions: int | None = None, grid: Grid | None = None) -> None:
        self.packing = packing
        self.streams: Streams | None = None
        if isinstance(packing, StreamPacking):
            if grid is not None:
                raise ValueError(f"{packing.config.kind} packing takes positions, not the grid {grid}.")
            self.streams = Streams(packing, positions)
        else:
            self.start = cursor(packing, positions=positions, grid=grid)
        self._known: dict[bytes, Cursor | None] = {}
        self._masks: dict[tuple[IdRange, ...], Tensor] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits of the next ids.

        Args:
            input_ids: int64 `[B, S]`; of patterns with K ids a step `[B, K, S]`, or `[B * K, S]` with the rows of an item together.
            scores: `[B, V]`, `[B, K, V]` or `[B * K, V]`; V may be larger than the vocabulary, such as for padded embeddings.

        Returns:
            `scores` with -inf for ids that may not come.

        Raises:
            ValueError: shapes that do not belong together, fewer logits than the vocabulary has ids, or ids of a prompt out of place.
        """
        rows, flat = input_ids.flatten(0, -2), scores.flatten(0, -2)
        size, books = self.packing.vocabulary.size, len(self.packing.books.vocab_sizes)
        if len(rows) != len(flat) or flat.shape[1] < size or (self.streams is not None and len(rows) % books):
            raise ValueError(f"input_ids {list(input_ids.shape)} and scores {list(scores.shape)} do not belong together: "
                             f"the packing has {size} ids{f' and {books} rows an item' if self.streams else ''}.")  # fmt: skip
        table = rows.tolist()
        if self.streams is None:
            allowed = self._single(table)
        else:
            allowed = [r for i in range(0, len(table), books) for r in self._together(table[i : i + books])]
        keep = torch.stack([self._mask(ranges, flat.shape[1]) for ranges in allowed]).to(scores.device)
        return scores.masked_fill(~keep.view(scores.shape), float("-inf"))

    def _single(self, table: list[list[int]]) -> list[tuple[IdRange, ...]]:
        """What may come in each sequence of one id a step; places of the step before are remembered."""
        known: dict[bytes, Cursor | None] = {}
        out: list[tuple[IdRange, ...]] = []
        for row in table:
            key = _key(row)
            if key not in known:
                before = self._known.get(_key(row[:-1])) if row else None
                known[key] = self._walk(before, row[-1:], len(row) - 1) if before is not None else self._from_start(row)
            at = known[key]
            out.append(_only(self.packing.begin_id) if at is None else at.allowed())
        self._known = known
        return out

    def _from_start(self, row: list[int]) -> Cursor | None:
        """The place after all ids of a row; None: its medium has not begun."""
        if self.packing.begin_id not in row:
            return None
        start = len(row) - row[::-1].index(self.packing.begin_id)
        return self._walk(self.start, row[start:], start)

    def _walk(self, at: Cursor, ids: list[int], step: int) -> Cursor:
        for i, index in enumerate(ids):
            if index == self.packing.begin_id:
                at = self.start
                continue
            if not at.takes(index):
                what = self.packing.vocabulary.describe(index)
                raise ValueError(f"step {step + i} holds {what}, with which {self.packing.config.kind} packing cannot go on there.")
            at = at.after(index)
        return at

    def _together(self, rows: list[list[int]]) -> list[tuple[IdRange, ...]]:
        """What may come in the K rows of one item."""
        assert self.streams is not None
        begin = self.packing.begin_id
        if begin not in rows[0]:
            return [_only(begin)] * len(rows)
        start = len(rows[0]) - rows[0][::-1].index(begin)
        return self.streams.allowed([row[start:] for row in rows])

    def _mask(self, ranges: tuple[IdRange, ...], size: int) -> Tensor:
        """Bool `[V]`: True for the ids of these ranges."""
        found = self._masks.get(ranges)
        if found is None or len(found) != size:
            found = torch.zeros(size, dtype=torch.bool)
            for start, stop in ranges:
                found[start:stop] = True
            if len(self._masks) < 256:
                self._masks[ranges] = found
        return found


def _only(index: int) -> tuple[IdRange, ...]:
    return ((index, index + 1),)


def _key(row: list[int]) -> bytes:
    return torch.tensor(row, dtype=torch.int64).numpy().tobytes()
