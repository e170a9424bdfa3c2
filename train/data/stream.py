"""Hub data sets that are streamed: read in order, without downloading the whole.

A stream has no random access: its order is a function of the seed and of the data set's shards, and a run that is
resumed skips the rows that it has used (they are read again, but not decoded).
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from ...codecs.config import ConfigError
from ...codecs.media import CellBlob, HubDataset, load_hub
from .config import DataConfig
from .loader import PATIENCE, Batch, Sample, collate
from .media import Item, Media
from .partner_files import column_of
from .partners import Partners
from .sizes import drawn_size


class StreamClips(IterableDataset):
    """Crops of a streamed data set, row after row, epoch after epoch.

    Args:
        entry: the data set.
        media: how rows are decoded and cut.
        config: partners of the rows.
        seed: of shuffling and crops.
        train: shuffle and augment.
        batch_size: crops in a batch, over all processes and all parts of a step: those for training have one size.

    Raises:
        ConfigError: each item has a size of its own; a stream cannot look for items of one size.
    """

    def __init__(
        self, entry: HubDataset, media: Media, config: DataConfig, *, seed: int, train: bool = True, batch_size: int = 1
    ) -> None:
        if train and media.bucket:
            raise ConfigError(
                f"data.crop has aspects, but the data set {entry.hub!r} is streamed, in an order of its own. List square sizes there, "
                "or read the data set without streaming."
            )
        self.entry, self.media, self.seed, self.train, self.batch_size = entry, media, seed, train, batch_size
        self.partners = Partners(config.partners, media)
        self.columns = {name: column_of(name, p, entry.hub) for name, p in config.partners.items() if not p.original}
        self.rows = load_hub(entry, also=tuple(self.columns.values()))
        if train:
            self.rows = self.rows.shuffle(seed=seed, buffer_size=entry.shuffle_buffer)
        self.broken: dict[str, str] = {}
        self.fingerprint = f"stream of {entry.hub} {entry.split}"
        self.start, self.position, self.rank, self.world = 0, 0, 0, 1

    def place(self, start: int, rank: int, world: int, position: int = 0) -> None:
        """Begin at row `start` of this process's share; process `rank` of `world` takes every `world`-th row.

        `position` counts the crops that all processes have used, which decides the size of the next one.
        """
        self.start, self.rank, self.world, self.position = start, rank, world, position

    def __iter__(self) -> Iterator[tuple[Sample, int]]:
        """Yield endlessly a crop, and the number of rows used so far."""
        used = self.start
        shapes = self._shapes()
        blobs = itertools.islice(self._blobs(), self.start, None)
        while True:
            found: dict[str, str] = {}
            shape = next(shapes)
            for _ in range(PATIENCE):
                rng = np.random.default_rng((self.seed, 3, self.rank, used))
                current: list[tuple[CellBlob, dict[str, CellBlob]]] = []

                def draw(current: list[tuple[CellBlob, dict[str, CellBlob]]] = current) -> Item:
                    current.append(next(blobs))
                    return current[-1][0]

                try:
                    x, place = self.partners.crop(draw, rng, self.train, shape)
                    beside = self.partners.beside([theirs for _, theirs in current], place, x)
                    sample = Sample(self.partners.degraded(x, rng), found, beside)
                except Exception as error:  # decoders may raise any exception
                    used += len(current)
                    if not current:  # not a row but the stream itself
                        raise
                    found[current[-1][0].name] = f"{type(error).__name__}: {error}"
                    continue
                used += len(current)
                yield sample, used
                break
            else:
                name, reason = next(reversed(found.items()))
                raise RuntimeError(f"{PATIENCE} rows in a row could not be used; the last: {name}: {reason}")

    def _shapes(self) -> Iterator[tuple[int, ...]]:
        """The shape of each crop of this process, from `position` on."""
        for position in itertools.count(self.position, self.world):
            size = drawn_size(self.seed, position // self.batch_size, len(self.media.shapes))
            yield self.media.shapes[size] if self.train else self.media.shape

    def _blobs(self) -> Iterator[tuple[CellBlob, dict[str, CellBlob]]]:
        """Each row's item and its partners by name."""
        for epoch in itertools.count():
            self.rows.set_epoch(epoch)
            count = 0
            for number, row in enumerate(self.rows):
                count += 1
                if number % self.world == self.rank:
                    name = f"{self.entry.hub}[{self.entry.split}:{epoch}:{number}]"
                    beside = {n: CellBlob(name, row[column], self.entry.allow_paths) for n, column in self.columns.items()}
                    yield CellBlob(name, row[self.entry.column], self.entry.allow_paths), beside
            if not count:
                raise RuntimeError(f"the data set {self.entry.hub!r} gave no rows.")


def stream_batches(
    clips: StreamClips, config: DataConfig, start: int, size: int, *, rank: int = 0, world: int = 1, position: int = 0
) -> Iterator[Batch]:
    """As `loader.batches`; `start` counts rows of this process, `position` crops of all. One worker at most: a stream has one order."""
    clips.place(start, rank, world, position)
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


def _collate(samples: list[tuple[Sample, int]]) -> Batch:
    return replace(collate([sample for sample, _ in samples]), rows=samples[-1][1])
