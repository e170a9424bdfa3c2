"""Hub data sets that are streamed: read in order, without downloading the whole.

A stream has no random access: its order is a function of the seed and of the data set's shards, and a run that is
resumed skips the rows that it has used (they are read again, but not decoded).
"""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ...codecs.media import CellBlob, HubDataset, load_hub
from .config import DataConfig
from .loader import PATIENCE, Batch
from .media import Item, Media


class StreamClips(IterableDataset):
    """Crops of a streamed data set, row after row, epoch after epoch.

    Args:
        entry: the data set.
        media: how rows are decoded and cut.
        seed: of shuffling and crops.
        train: shuffle and augment.
    """

    def __init__(self, entry: HubDataset, media: Media, *, seed: int, train: bool = True) -> None:
        self.entry, self.media, self.seed, self.train = entry, media, seed, train
        self.rows = load_hub(entry)
        if train:
            self.rows = self.rows.shuffle(seed=seed, buffer_size=entry.shuffle_buffer)
        self.broken: dict[str, str] = {}
        self.fingerprint = f"stream of {entry.hub} {entry.split}"
        self.start, self.rank, self.world = 0, 0, 1

    def place(self, start: int, rank: int, world: int) -> None:
        """Begin at row `start` of this process's share; process `rank` of `world` takes every `world`-th row."""
        self.start, self.rank, self.world = start, rank, world

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, str], int]]:
        """Yield endlessly a crop, the items found broken (name -> reason), and the number of rows used so far."""
        used = self.start
        blobs = itertools.islice(self._blobs(), self.start, None)
        while True:
            found: dict[str, str] = {}
            for _ in range(PATIENCE):
                rng = np.random.default_rng((self.seed, 3, self.rank, used))
                current: list[CellBlob] = []

                def draw(current: list[CellBlob] = current) -> Item:
                    current.append(next(blobs))
                    return current[-1]

                try:
                    x = self.media.crop(draw, rng, self.train)
                except Exception as error:  # decoders may raise any exception
                    used += len(current)
                    if not current:  # not a row but the stream itself
                        raise
                    found[current[-1].name] = f"{type(error).__name__}: {error}"
                    continue
                used += len(current)
                yield x, found, used
                break
            else:
                name, reason = next(reversed(found.items()))
                raise RuntimeError(f"{PATIENCE} rows in a row could not be used; the last: {name}: {reason}")

    def _blobs(self) -> Iterator[CellBlob]:
        for epoch in itertools.count():
            self.rows.set_epoch(epoch)
            count = 0
            for number, row in enumerate(self.rows):
                count += 1
                if number % self.world == self.rank:
                    name = f"{self.entry.hub}[{self.entry.split}:{epoch}:{number}]"
                    yield CellBlob(name, row[self.entry.column], self.entry.allow_paths)
            if not count:
                raise RuntimeError(f"the data set {self.entry.hub!r} gave no rows.")


def stream_batches(
    clips: StreamClips, config: DataConfig, start: int, size: int, *, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """As `loader.batches`; `start` counts rows of this process. One worker at most: a stream has one order."""
    clips.place(start, rank, world)
    workers = min(1, config.num_workers)
    loader = DataLoader(
        clips,
        batch_size=size // world,
        collate_fn=_collate,
        num_workers=workers,
        prefetch_factor=config.prefetch if workers else None,
        generator=torch.Generator(),
    )
    yield from loader


def _collate(samples: list[tuple[Tensor, dict[str, str], int]]) -> Batch:
    broken: dict[str, str] = {}
    for _, found, _ in samples:
        broken |= found
    return Batch(torch.stack([x for x, _, _ in samples]), broken, samples[-1][2])
