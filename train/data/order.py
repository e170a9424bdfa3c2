"""The order of training: a pure function of (seed, position)."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class VisitOrder:
    """Item at each position of an endless sequence of visits.

    Position p is in epoch `p // length`. Each epoch is its own permutation of all visits.

    Args:
        visits: how often each item appears in an epoch.
        seed: of the permutations and of the crops.
        shuffle: False keeps the items in their order (validation).
    """

    def __init__(self, visits: Sequence[int], seed: int, *, shuffle: bool = True) -> None:
        self.items = np.repeat(np.arange(len(visits)), visits)
        self.seed, self.shuffle = seed, shuffle
        self._epoch, self._permuted = -1, self.items

    def __len__(self) -> int:
        """Number of visits (crops drawn) in an epoch."""
        return len(self.items)

    def item(self, position: int) -> int:
        """Return the index of the item at `position`."""
        epoch, place = divmod(position, len(self.items))
        if not self.shuffle:
            return int(self.items[place])
        if epoch != self._epoch:
            self._permuted = np.random.default_rng((self.seed, 1, epoch)).permutation(self.items)
            self._epoch = epoch
        return int(self._permuted[place])

    def rng(self, position: int, attempt: int = 0) -> np.random.Generator:
        """Return the random numbers that belong to `position`, the same in every process."""
        epoch, place = divmod(position, len(self.items))
        return np.random.default_rng((self.seed, 2, epoch, place, attempt))


class BatchPositions(Sampler[list[int]]):
    """Positions of one process's part of each batch, endlessly.

    A batch of the run is `size` positions in a row; process `rank` of `world` takes its own contiguous part, so
    that the union over processes does not depend on how many there are.
    """

    def __init__(self, start: int, size: int, *, rank: int = 0, world: int = 1) -> None:
        if size % world:
            raise ValueError(f"a batch of {size} cannot be divided among {world} processes.")
        self.start, self.size, self.rank, self.part = start, size, rank, size // world

    def __iter__(self) -> Iterator[list[int]]:
        position = self.start
        while True:
            first = position + self.rank * self.part
            yield list(range(first, first + self.part))
            position += self.size


def fingerprint(names: Sequence[str], visits: Sequence[int]) -> str:
    """Return a short hash of the list that is ordered, so that a resumed run detects changed data."""
    digest = hashlib.sha256()
    for name, count in zip(names, visits, strict=True):
        digest.update(f"{name}\0{count}\n".encode())
    return digest.hexdigest()[:16]
