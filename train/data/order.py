"""The order of training: a pure function of (seed, position)."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from .sizes import drawn_size


class VisitOrder:
    """Item at each position of an endless sequence of visits.

    Position p is in epoch `p // length`. Each epoch is its own permutation of all visits.

    Args:
        visits: how often each item appears in an epoch.
        seed: of the permutations, of the crops and of their sizes.
        shuffle: False keeps the items in their order (validation).
        sizes: number of sizes of crops, of which each batch has one.
        batch_size: crops in a batch, over all processes and all parts of an optimiser step.
    """

    def __init__(
        self, visits: Sequence[int], seed: int, *, shuffle: bool = True, sizes: int = 1, batch_size: int = 1
    ) -> None:
        self.items = np.repeat(np.arange(len(visits)), visits)
        self.seed, self.shuffle, self.sizes, self.batch_size = seed, shuffle, sizes, batch_size
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

    def size(self, position: int) -> int:
        """Return which of the `sizes` the crop at `position` has; it depends on the seed and the number of the batch."""
        return drawn_size(self.seed, position // self.batch_size, self.sizes)

    def another(self, position: int, rng: np.random.Generator) -> int:
        """Return the index of a random item that may stand at `position` in place of its own."""
        return self.item(int(rng.integers(len(self))))

    def rng(self, position: int, attempt: int = 0) -> np.random.Generator:
        """Return the random numbers that belong to `position`, the same in every process."""
        epoch, place = divmod(position, len(self.items))
        return np.random.default_rng((self.seed, 2, epoch, place, attempt))


class BucketOrder(VisitOrder):
    """The order in which a batch has items of one bucket alone.

    Each bucket has an endless sequence of its own, permutation after permutation of its visits, of which a batch takes the next
    `batch_size`. No item is left over or repeated to fill a batch: one that does not fit into the last batch of its bucket's
    permutation comes in the bucket's next one. The buckets take turns evenly, each as often as it has visits, so that an epoch has
    every item once but for about one batch of each bucket.

    Args:
        visits: how often each item appears in an epoch.
        buckets: of each item.
        seed, batch_size: see `VisitOrder`.
    """

    def __init__(self, visits: Sequence[int], buckets: Sequence[int], seed: int, *, batch_size: int) -> None:
        super().__init__(visits, seed, sizes=max(buckets) + 1, batch_size=batch_size)
        of_visit = np.asarray(buckets)[self.items]
        self._members = [self.items[of_visit == b] for b in range(self.sizes)]
        self._round, self._turns, self._before = -1, np.empty(0, int), np.empty(0, int)
        self._shuffled: dict[int, tuple[int, np.ndarray]] = {}

    def size(self, position: int) -> int:
        """Return the bucket of the batch that `position` lies in."""
        return self._turn(position // self.batch_size)[0]

    def item(self, position: int) -> int:
        """Return the index of the item at `position`."""
        batch, row = divmod(position, self.batch_size)
        bucket, before = self._turn(batch)
        members = self._members[bucket]
        epoch, place = divmod(before * self.batch_size + row, len(members))
        if self._shuffled.get(bucket, (-1,))[0] != epoch:
            permuted = np.random.default_rng((self.seed, 1, epoch, bucket)).permutation(members)
            self._shuffled[bucket] = (epoch, permuted)
        return int(self._shuffled[bucket][1][place])

    def another(self, position: int, rng: np.random.Generator) -> int:
        """Return the index of a random item of the bucket of `position`."""
        members = self._members[self.size(position)]
        return int(members[rng.integers(len(members))])

    def _turn(self, batch: int) -> tuple[int, int]:
        """The bucket of a batch, and the number of earlier batches of this bucket.

        A round is as many batches as there are visits. In it a bucket of n visits has n batches, one somewhere in each n-th part.
        """
        number, place = divmod(batch, len(self.items))
        if number != self._round:
            rng = np.random.default_rng((self.seed, 4, number))
            counts = [len(m) for m in self._members]
            when = np.concatenate([(np.arange(n) + rng.random(n)) / max(n, 1) for n in counts])
            order = np.argsort(when, kind="stable")
            self._turns = np.repeat(np.arange(self.sizes), counts)[order]
            self._before = np.concatenate([np.arange(n) for n in counts])[order]
            self._round = number
        bucket = int(self._turns[place])
        return bucket, number * len(self._members[bucket]) + int(self._before[place])


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
