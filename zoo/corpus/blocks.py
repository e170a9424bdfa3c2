"""Documents packed into blocks of one size, by arithmetic on their lengths alone: no id is read to find a block.

    split            documents one after another, cut where a block is full: no padding, no loss
    whole documents  a block takes the next documents that fit, and is padded; longer ones are cut into separate blocks

Letters: N documents, S steps of a block.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Piece:
    """Steps `start .. stop - 1` of one document."""

    document: int
    start: int
    stop: int


class Blocks:
    """Which pieces each block of an endless sequence holds, a function of the seed and the block's position.

    Args:
        lengths: steps of each document, int64 `[N]`.
        size: S.
        seed: of the order of documents, another one in every epoch; None: as they are.
        whole: keep documents whole.
    """

    def __init__(self, lengths: np.ndarray, size: int, seed: int | None, *, whole: bool) -> None:
        self.lengths, self.size, self.seed, self.whole = lengths, size, seed, whole
        if whole:
            self.bins = list(_bins(lengths, size, _permutation(len(lengths), seed, -1)))
            self.count = len(self.bins)
        else:
            self.count = -(-int(lengths.sum()) // size)
        self.epoch = -1
        self.order = np.zeros(0, np.int64)
        self.ends = np.zeros(0, np.int64)

    def __len__(self) -> int:
        """Number of blocks in an epoch."""
        return self.count

    def pieces(self, position: int) -> list[Piece]:
        """Contents of the block at `position`, which is in epoch `position // len(self)`."""
        epoch, place = divmod(position, self.count)
        if self.whole:
            return self.bins[int(self._order(epoch, self.count)[place])]
        order = self._order(epoch, len(self.lengths))
        first = place * self.size
        at = int(np.searchsorted(self.ends, first, side="right"))
        out, room = [], self.size
        while room and at < len(order):
            document = int(order[at])
            length = int(self.lengths[document])
            start = max(0, first - int(self.ends[at]) + length)
            stop = min(length, start + room)
            if stop > start:
                out.append(Piece(document, start, stop))
                room -= stop - start
            at += 1
        return out

    def _order(self, epoch: int, count: int) -> np.ndarray:
        """Permutation of an epoch, cached until another epoch is requested, with the documents' ends in it."""
        if epoch != self.epoch:
            self.order, self.epoch = _permutation(count, self.seed, epoch), epoch
            if not self.whole:
                self.ends = np.cumsum(self.lengths[self.order])
        return self.order


def _permutation(count: int, seed: int | None, epoch: int) -> np.ndarray:
    """Numbers below `count` in the order of an epoch."""
    if seed is None:
        return np.arange(count)
    return np.random.default_rng((seed, epoch + 1)).permutation(count)


def _bins(lengths: np.ndarray, size: int, order: np.ndarray) -> "list[list[Piece]]":
    """Blocks of whole documents, filled in order."""
    out: list[list[Piece]] = []
    room = 0
    for document in order.tolist():
        length = int(lengths[document])
        if length > size:
            out += [[Piece(document, a, min(a + size, length))] for a in range(0, length, size)]
            room = 0  # the next document begins a block of its own
        elif length > room:
            out.append([Piece(document, 0, length)])
            room = size - length
        elif length:
            out[-1].append(Piece(document, 0, length))
            room -= length
    return out
