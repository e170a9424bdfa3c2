"""Samples at positions of an endless sequence, and the loader that makes batches of them and can say where it is.

    loader = data.loader(32, rank=rank, world=world, num_workers=4)
    for batch in loader: ...
    torch.save(loader.state_dict(), "loader.pt")        # with the model's checkpoint
    loader.load_state_dict(torch.load("loader.pt"))     # the next `for` begins with the batch after the last one

Letters: B batch, K codebooks, S steps of a sample.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .packing.base import Packing
from .packing.results import IGNORE


class Samples(Dataset):
    """Base of data sets whose sample at every position follows from the settings alone: `TokenDataset`, `Blend`."""

    #: ids of the samples, and of padding
    packing: Packing

    def __len__(self) -> int:
        """Samples of an epoch."""
        raise NotImplementedError

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at any position from 0 on, also past an epoch; tensors `[S]` or `[K, S]`, and `position`."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What the order and the contents of the samples follow from, as plain values."""
        raise NotImplementedError

    @property
    def vocab_size(self) -> int:
        """Number of ids that samples can hold, special tokens included: the rows of a model's embedding."""
        return self.packing.vocabulary.size

    def filled(self, sample: dict[str, Tensor], missing: int) -> dict[str, Tensor]:
        """A sample with `missing` more steps of padding."""
        fill = {"input_ids": self.packing.pad_id, "labels": IGNORE, "document_ids": -1, "position_ids": 0}
        if missing <= 0:
            return sample
        return {n: torch.nn.functional.pad(x, (0, missing), value=fill[n]) if n in fill else x for n, x in sample.items()}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack samples; shorter ones are padded as in blocks."""
        longest = max(s["input_ids"].shape[-1] for s in samples)
        rows = [self.filled(s, longest - s["input_ids"].shape[-1]) for s in samples]
        return {n: torch.stack([r[n] for r in rows]) for n in rows[0]}

    def loader(
        self,
        batch_size: int,
        *,
        start: int = 0,
        stop: int | None = None,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
        prefetch: int = 2,
    ) -> "TokenLoader":
        """Batches from position `start` on: endless, or up to `stop` (`len(self)`: one epoch).

        Args:
            batch_size: samples over all ranks; each rank gets `batch_size / world` of every batch.
            start: samples that were used before; after n batches it is `start + n * batch_size`.
            stop: the last batch may be smaller, and a rank's part of it empty (that rank then has one batch less).
            rank, world: this process, and how many there are.
            num_workers: worker processes that prefetch batches; the batches do not depend on it.
            prefetch: batches that each worker prefetches.

        Raises:
            ValueError: a batch that cannot be divided among the ranks, or numbers out of range.
        """
        positions = Positions(start, stop, batch_size, rank=rank, world=world)
        return TokenLoader(self, positions, num_workers=num_workers, prefetch=prefetch)


class Positions(Sampler[list[int]]):
    """Positions of one rank's part of each batch."""

    def __init__(self, start: int, stop: int | None, size: int, *, rank: int, world: int) -> None:
        if size < 1 or start < 0 or (stop is not None and stop < start):
            raise ValueError(f"batch_size {size}, start {start}, stop {stop}; allowed: from 1, from 0, and not before start.")
        if world < 1 or size % world or not 0 <= rank < world:
            raise ValueError(f"a batch of {size} cannot be shared out to rank {rank} of {world}; take a multiple of {world}.")
        self.start, self.stop, self.size, self.rank, self.part = start, stop, size, rank, size // world

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(self.start)  # `start` as it is now, not when the first batch is taken

    def _batches(self, first: int) -> Iterator[list[int]]:
        while self.stop is None or first < self.stop:
            own = range(first + self.rank * self.part, first + (self.rank + 1) * self.part)
            kept = [p for p in own if self.stop is None or p < self.stop]
            if kept:
                yield kept
            first += self.size

    def __len__(self) -> int:
        """Batches of this rank. Raises TypeError if they are endless."""
        if self.stop is None:
            raise TypeError("this loader is endless; give stop=len(data) for one epoch.")
        whole, rest = divmod(self.stop - self.start, self.size)
        return whole + int(rest > self.rank * self.part)


class TokenLoader(DataLoader):
    """A `DataLoader` that can be stopped and continued at any batch; make it with `data.loader(...)`.

    Each `for` begins at `start`, except the first one after `load_state_dict`. Batches that workers have prefetched but the loop has
    not taken are not counted. The position counts samples of all ranks, so a state fits another number of ranks and another batch
    size too.
    """

    def __init__(self, data: Samples, positions: Positions, *, num_workers: int, prefetch: int) -> None:
        super().__init__(
            data,
            batch_sampler=positions,
            collate_fn=data.collate,
            num_workers=num_workers,
            prefetch_factor=prefetch if num_workers else None,
            generator=torch.Generator(),  # its own: the global one belongs to the run
        )
        self.positions = positions
        self._first = positions.start
        self._loaded = False
        #: position of the first sample that no batch has held yet
        self.position = positions.start

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # pyright: ignore[reportIncompatibleMethodOverride]  (a class of torch's own)
        if not self._loaded:
            self.position = self._first
        self._loaded = False
        self.positions.start = self.position
        try:
            batches = super().__iter__()
        finally:
            self.positions.start = self._first
        return self._counted(batches)

    def _counted(self, batches: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        for batch in batches:
            self.position += self.positions.size
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: plain values, for a checkpoint."""
        data: Any = self.dataset
        return {"position": self.position, "data": data.settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the batch after those that were taken when `state_dict` was called.

        Raises:
            ValueError: no such state, or one of other data; the message names what differs.
        """
        data: Any = self.dataset
        own = data.settings()
        position, theirs = state.get("position"), state.get("data")
        if isinstance(position, bool) or not isinstance(position, int) or position < 0 or not isinstance(theirs, Mapping):
            raise ValueError(f"this is no state of a loader: it holds {sorted(map(str, state))}; pass what state_dict() gave.")
        differ = sorted(k for k in {*own, *theirs} if own.get(k) != theirs.get(k))
        if differ:
            what = "; ".join(f"{k}: {theirs.get(k)!r:.80} there, {own.get(k)!r:.80} here" for k in differ)
            raise ValueError(f"this state is of other data, so its position means nothing here. {what}.")
        self.position, self._loaded = position, True
