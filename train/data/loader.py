"""Batches of crops from a source: cache, workers, broken files, and a position to resume from."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...codecs.config import ConfigError
from ...codecs.media import shown
from .config import DataConfig, Entries
from .media import Item, Media
from .order import BatchPositions, VisitOrder, fingerprint
from .sources import collect

#: After this many broken items in a row the run ends: the cause is then not single files.
PATIENCE = 100


@dataclass(frozen=True)
class Batch:
    """Crops `[B, C, ...]`; broken items found, name -> reason; in streams, the number of rows used so far."""

    x: Tensor
    broken: dict[str, str]
    rows: int = 0


class Clips(Dataset):
    """Crops by position: item, place and augmentation all follow from `(seed, position)`.

    Args:
        entries: where media come from.
        media: how they are decoded and cut.
        config: cache and visits.
        seed: of order and crops.
        train: shuffle and augment; False gives items in their order and plain crops.
        say: called with a line of progress while the cache fills.
    """

    def __init__(
        self,
        entries: Entries,
        media: Media,
        config: DataConfig,
        *,
        seed: int,
        train: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.media, self.train = media, train
        self.broken: dict[str, str] = {}
        blobs = collect(entries, media.suffixes)
        self.names = [shown(b.name) for b in blobs]  # they go into reports, previews and a checksum
        self.items: list[Item] = list(blobs)
        listed = len(blobs)
        if config.cache == "memory":
            self._decode_all(say)
        visits = [1] * len(self.items)
        if config.max_visits > 1 and train:
            visits = [self._visits(name, item, config.max_visits) for name, item in zip(self.names, self.items)]
        if not sum(visits):
            raise ConfigError(f"none of the {listed} items of {entries!r} can be read: {self._example()}")
        self.order = VisitOrder(visits, seed, shuffle=train)
        self.fingerprint = fingerprint(self.names, visits)

    def __len__(self) -> int:
        """Number of crops drawn in an epoch."""
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[Tensor, dict[str, str]]:
        """Return the crop at `position` and the items found broken while looking for it."""
        found: dict[str, str] = {}
        for attempt in range(PATIENCE):
            # Each attempt has its own random numbers: the result must not depend on whether this process
            # met the broken file before. The first attempt takes the item at `position`, later ones a random item.
            rng = self.order.rng(position, attempt)
            first = self.order.item(position if attempt == 0 else int(rng.integers(len(self.order))))
            current, calls = [first], itertools.count()

            def draw(first: int = first, current: list[int] = current, calls: Iterator[int] = calls, rng: Any = rng) -> Item:
                current[0] = first if next(calls) == 0 else int(rng.integers(len(self.items)))
                if self.names[current[0]] in self.broken:
                    raise ValueError(self.broken[self.names[current[0]]])
                return self.items[current[0]]

            try:
                return self.media.crop(draw, rng, self.train), found
            except Exception as error:  # decoders may raise any exception; the file is named in the report
                name = self.names[current[0]]
                if name not in self.broken:
                    found[name] = self.broken[name] = f"{type(error).__name__}: {error}"
        raise RuntimeError(f"{PATIENCE} items in a row could not be used; the last: {self._example()}")

    def _decode_all(self, say: Callable[[str], None]) -> None:
        """Replace blobs by decoded arrays; broken ones leave the list."""

        def decode(index: int) -> Any:
            try:
                return self.media.decode(self.items[index])  # type: ignore[arg-type]
            except Exception as error:
                return error

        names, items, size = [], [], 0
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for index, result in enumerate(pool.map(decode, range(len(self.items)))):
                if isinstance(result, Exception):
                    self.broken[self.names[index]] = f"{type(result).__name__}: {result}"
                    continue
                names.append(self.names[index])
                items.append(result)
                size += result.nbytes
                if (index + 1) % 500 == 0:
                    say(f"decoded {index + 1} of {len(self.items)} files, {size / 2**20:.0f} MiB")
        say(f"holding {len(items)} decoded files in memory, {size / 2**20:.0f} MiB")
        self.names, self.items = names, items

    def _visits(self, name: str, item: Item, most: int) -> int:
        try:
            return max(1, min(most, round(self.media.crops_in(item))))
        except Exception as error:
            self.broken[name] = f"{type(error).__name__}: {error}"
            return 0

    def _example(self) -> str:
        return next((f"{name}: {reason}" for name, reason in reversed(self.broken.items())), "no reason known")


def batches(
    clips: Clips, config: DataConfig, start: int, size: int, *, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Yield batches endlessly from position `start` on; `size` crops over all `world` processes."""
    # A separate generator: DataLoader would otherwise draw a seed from the global one, and a resumed
    # run would then draw other random numbers than one that was never stopped.
    loader = DataLoader(
        clips,
        batch_sampler=BatchPositions(start, size, rank=rank, world=world),
        collate_fn=collate,
        num_workers=config.num_workers,
        prefetch_factor=config.prefetch if config.num_workers else None,
        worker_init_fn=_one_thread,
        generator=torch.Generator(),
    )
    yield from loader


def collate(samples: list[tuple[Tensor, dict[str, str]]]) -> Batch:
    """Stack crops of one size into a `Batch`, and merge their broken items."""
    broken: dict[str, str] = {}
    for _, found in samples:
        broken |= found
    return Batch(torch.stack([x for x, _ in samples]), broken)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
