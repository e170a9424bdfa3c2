"""Ids to bytes and back, by a range coder (the package constriction) with the frequencies of a `Prior`.

Order: codebook after codebook; in each position after position; at each position the items that reach it. So a decoder knows all
earlier codebooks of all items, and computes the frequencies of a position for all items at once.

Letters: B items, K codebooks, n ids of one codebook of one item, V ids of a codebook, R rank.
"""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .fixed_point import LEAST_BITS
from .neighbours import Grid, ids_at, places
from .prior import BookPrior, Prior, PriorError

#: Frequencies that are computed at once.
_CHUNK = 1 << 21


def encode(prior: Prior, ids: Sequence[Sequence[np.ndarray]], grids: Sequence[Sequence[Grid]]) -> bytes:
    """Code ids.

    Args:
        prior: of these codebooks, or of more.
        ids: `[K][B]` arrays int64 `[n]`.
        grids: `[K][B]`, the `(h, w)` of each, `h * w == n`.
    """
    coder, family = _package()
    encoder = coder.RangeEncoder()
    for k, book in enumerate(prior.books[: len(ids)]):
        if book is None:
            continue
        steps = _Steps(prior, k, book, ids[:k], grids)
        sums = [
            known + sum(_rows(steps, which, own, at) for which, at in indexes)
            for own, known, indexes in zip(ids[k], steps.known, steps.own, strict=True)
        ]
        order = _order([len(x) for x in ids[k]])
        flat, stacked = np.concatenate([np.zeros(0, np.int64), *ids[k]])[order], np.concatenate([steps.empty, *sums])[order]
        size = max(1, _CHUNK // prior.vocab_sizes[k])
        for start in range(0, len(flat), size):
            part = slice(start, start + size)
            encoder.encode(flat[part].astype(np.int32), family, book.frequencies(stacked[part]))
    return encoder.get_compressed().astype("<u4").tobytes()


def decode(prior: Prior, data: bytes, grids: Sequence[Sequence[Grid]]) -> list[list[np.ndarray]]:
    """Inverse of `encode`: ids `[K][B]`, int64 `[n]` each, of any bytes.

    Raises:
        PriorError: bytes that `encode` with this prior does not write, or too few of them.
    """
    needed = sum(h * w for book, each in zip(prior.books, grids, strict=False) if book is not None for h, w in each) * LEAST_BITS
    if len(data) % 4 or needed > 8 * len(data):
        raise PriorError(f"{len(data)} bytes are no code of ids that take {needed / 8:.0f} bytes at least.")
    coder, family = _package()
    decoder = coder.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    out: list[list[np.ndarray]] = []
    try:
        for k, each in enumerate(grids):
            book = prior.books[k]
            if book is None:
                out.append([np.zeros(h * w, np.int64) for h, w in each])
            else:
                out.append(_decoded(decoder, family, _Steps(prior, k, book, out, grids)))
    except (AssertionError, ValueError, OverflowError) as error:  # how constriction refuses bytes
        raise PriorError(f"the bytes are no code of ids by prior {prior.name!r}: {error}") from None
    if not decoder.maybe_exhausted():
        raise PriorError(f"there are more bytes than the ids take that prior {prior.name!r} codes.")
    return out


def _package() -> tuple[Any, Any]:
    """The range coder of constriction, and its distributions with a table for each id; raises PriorError that names the extra."""
    try:
        stream = importlib.import_module("constriction").stream
    except ImportError as error:
        raise PriorError("entropy-coded token files need the package constriction: pip install 'tokenzoo[entropy]'.") from error
    return stream.queue, stream.model.Categorical(perfect=False)


class _Steps:
    """What the model of one codebook knows before any of its ids, and where it finds the rest.

    Attributes:
        known: for each item int32 `[n, R]`, the sums of the vectors of neighbours in earlier codebooks.
        own: for each item (neighbour, int64 `[n]`), the places of neighbours in the codebook itself; -1: none.
    """

    def __init__(
        self, prior: Prior, k: int, book: BookPrior, done: Sequence[Sequence[np.ndarray]], grids: Sequence[Sequence[Grid]]
    ) -> None:
        self.book, self.vocab_size, self.grids = book, prior.vocab_sizes[k], grids[k]
        self.empty = np.zeros((0, book.matrix.shape[0]), np.int32)
        self.known: list[np.ndarray] = []
        self.own: list[list[tuple[int, np.ndarray]]] = []
        for b, (h, w) in enumerate(grids[k]):
            known, own = np.zeros((h * w, self.empty.shape[1]), np.int32), []
            for which, near in enumerate(book.neighbours):
                if near.book == k:
                    own.append((which, places((h, w), (h, w), near, before=True)))
                    continue
                size = prior.vocab_sizes[near.book]
                there = ids_at(done[near.book][b], places((h, w), grids[near.book][b], near, before=False), size)
                known += book.vectors(which, there, size)
            self.known.append(known)
            self.own.append(own)


def _rows(steps: _Steps, which: int, ids: np.ndarray, index: np.ndarray) -> np.ndarray:
    return steps.book.vectors(which, ids_at(ids, index, steps.vocab_size), steps.vocab_size)


def _order(counts: Sequence[int]) -> np.ndarray:
    """Indices into items that stand one after the other, by position and then by item."""
    position = np.concatenate([np.zeros(0, np.int64), *(np.arange(n) for n in counts)])
    return np.argsort(position, kind="stable")


def _decoded(decoder: Any, family: Any, steps: _Steps) -> list[np.ndarray]:
    """Ids of one codebook of each item."""
    counts = [len(x) for x in steps.known]
    longest, book = max(counts, default=0), steps.book
    ids = np.full((len(counts), longest + 1), steps.vocab_size, np.int64)  # the last column stays: no neighbour
    index = [_padded([own[i][1] for own in steps.own], longest) for i in range(len(steps.own[0]) if steps.own else 0)]
    which = [number for number, _ in steps.own[0]] if steps.own else []
    known = np.zeros((len(counts), longest, steps.empty.shape[1]), np.int32)
    for row, own in zip(known, steps.known, strict=True):
        row[: len(own)] = own
    for position, items in _positions(counts):
        sums = known[items, position]
        for number, at in zip(which, index, strict=True):
            sums = sums + book.vectors(number, ids[items, at[items, position]], steps.vocab_size)
        ids[items, position] = decoder.decode(family, book.frequencies(sums))
    return [row[:n] for row, n in zip(ids, counts, strict=True)]


def _padded(rows: Sequence[np.ndarray], longest: int) -> np.ndarray:
    """Rows of places `[B, longest]`, filled up with `longest`, which also stands for none."""
    out = np.full((len(rows), longest), longest, np.int64)
    for into, row in zip(out, rows, strict=True):
        into[: len(row)] = np.where(row < 0, longest, row)
    return out


def _positions(counts: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Each position with the items that reach it, int64, rising."""
    ends = np.array(counts, np.int64)
    for position in range(int(ends.max(initial=0))):
        yield position, np.flatnonzero(ends > position)
