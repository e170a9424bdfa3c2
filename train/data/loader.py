"""Batches of crops from a source: cache, workers, broken files, and a position to resume from."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...codecs.config import ConfigError
from ...codecs.media import Blob, shown
from .config import DataConfig, Entries
from .media import Item, Media
from .order import BatchPositions, BucketOrder, VisitOrder, fingerprint
from .partner_files import collect_with_partners
from .partners import PartnerBatch, Partners, Read, on_device, stacked

#: After this many broken items in a row the run ends: the cause is then not single files.
PATIENCE = 100


@dataclass(frozen=True)
class Batch:
    """Crops and what belongs to them.

    Attributes:
        x: media, float32 `[B, C, ...]`.
        broken: items found broken, name -> reason.
        rows: in streams, the number of rows used so far.
        partners: by name; see `partners.PartnerBatch`.
    """

    x: Tensor
    broken: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    partners: PartnerBatch = field(default_factory=dict)

    def to(self, device: torch.device) -> "Batch":
        """The same batch with its tensors on a device."""
        return replace(self, x=self.x.to(device, non_blocking=True), partners=on_device(self.partners, device))


class Sample(NamedTuple):
    """A crop, the items found broken while looking for it (name -> reason), and its partners by name."""

    x: Tensor
    broken: dict[str, str]
    partners: dict[str, Tensor | str]


class Clips(Dataset):
    """Crops by position: item, place and augmentation all follow from `(seed, position)`.

    Args:
        entries: where media come from.
        media: how they are decoded and cut.
        config: cache and visits.
        seed: of order and crops.
        train: shuffle and augment; False gives items in their order and plain crops.
        say: called with a line of progress while the cache fills.
        batch_size: crops in a batch, over all processes and all parts of a step: those for training have one size.
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
        batch_size: int = 1,
    ) -> None:
        self.media, self.train = media, train
        self.broken: dict[str, str] = {}
        self.partners = Partners(config.partners, media)
        blobs, beside = collect_with_partners(entries, media.suffixes, config.partners)
        self.names = [shown(b.name) for b in blobs]  # they go into reports, previews and a checksum
        self.items: list[Item] = list(blobs)
        self.beside: list[Mapping[str, Blob | Read]] = list(beside)
        self.partners.start(beside)
        listed = len(blobs)
        if config.cache == "memory":
            self._decode_all(blobs, beside, say)
        visits = [1] * len(self.items)
        if config.max_visits > 1 and train:
            visits = [self._visits(name, item, config.max_visits) for name, item in zip(self.names, self.items)]
        buckets = self._buckets(media.bucket, visits) if train and media.bucket else None  # broken ones have no visits afterwards
        if not sum(visits):
            raise ConfigError(f"none of the {listed} items of {entries!r} can be read: {self._example()}")
        if buckets:
            self.order: VisitOrder = BucketOrder(visits, buckets, seed, batch_size=batch_size)
        else:
            self.order = VisitOrder(visits, seed, shuffle=train, sizes=len(media.shapes), batch_size=batch_size)
        self.fingerprint = fingerprint(self.names, visits)

    def __len__(self) -> int:
        """Number of crops drawn in an epoch."""
        return len(self.order)

    def __getitem__(self, position: int) -> Sample:
        """Return the crop at `position`."""
        found: dict[str, str] = {}
        shape = self.media.shapes[self.order.size(position)] if self.train else self.media.shape
        for attempt in range(PATIENCE):
            # Each attempt has its own random numbers: the result must not depend on whether this process
            # met the broken file before. The first attempt takes the item at `position`, later ones a random item.
            rng = self.order.rng(position, attempt)
            first = self.order.another(position, rng) if attempt else self.order.item(position)
            drawn: list[int] = []

            def draw(first: int = first, drawn: list[int] = drawn, rng: Any = rng) -> Item:
                drawn.append(int(rng.integers(len(self.items))) if drawn else first)
                if self.names[drawn[-1]] in self.broken:
                    raise ValueError(self.broken[self.names[drawn[-1]]])
                return self.items[drawn[-1]]

            try:
                x, place = self.partners.crop(draw, rng, self.train, shape)
                beside = self.partners.beside([self.beside[i] for i in drawn], place, x)
                return Sample(self.partners.degraded(x, rng), found, beside)
            except Exception as error:  # decoders may raise any exception; the file is named in the report
                name = self.names[drawn[-1] if drawn else first]
                if name not in self.broken:
                    found[name] = self.broken[name] = f"{type(error).__name__}: {error}"
        raise RuntimeError(f"{PATIENCE} items in a row could not be used; the last: {self._example()}")

    def _decode_all(self, blobs: Sequence[Blob], sources: Sequence[Mapping[str, Blob]], say: Callable[[str], None]) -> None:
        """Replace blobs by decoded arrays, and their partners likewise; broken ones leave the list."""

        def decode(index: int) -> Any:
            try:
                return self.media.decode(blobs[index]), self.partners.read(sources[index])
            except Exception as error:
                return error

        names, items, beside, size = [], [], [], 0
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for index, result in enumerate(pool.map(decode, range(len(self.items)))):
                if isinstance(result, Exception):
                    self.broken[self.names[index]] = f"{type(result).__name__}: {result}"
                    continue
                names.append(self.names[index])
                items.append(result[0])
                beside.append(result[1])
                size += result[0].nbytes + sum(len(v) if isinstance(v, str) else v.nbytes for v in result[1].values())
                if (index + 1) % 500 == 0:
                    say(f"decoded {index + 1} of {len(self.items)} files, {size / 2**20:.0f} MiB")
        say(f"holding {len(items)} decoded files in memory, {size / 2**20:.0f} MiB")
        self.names, self.items, self.beside = names, items, beside

    def _visits(self, name: str, item: Item, most: int) -> int:
        try:
            return max(1, min(most, round(self.media.crops_in(item))))
        except Exception as error:
            self.broken[name] = f"{type(error).__name__}: {error}"
            return 0

    def _buckets(self, bucket: Callable[[Item], int], visits: list[int]) -> list[int]:
        """The bucket of each item. Sets visits of broken ones to 0."""
        found = [0] * len(visits)
        for index, (name, item) in enumerate(zip(self.names, self.items, strict=True)):
            try:
                found[index] = bucket(item)
            except Exception as error:
                self.broken[name] = f"{type(error).__name__}: {error}"
                visits[index] = 0
        return found

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


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack crops of one size and their partners into a `Batch`, and merge their broken items."""
    broken: dict[str, str] = {}
    for sample in samples:
        broken |= sample.broken
    return Batch(torch.stack([s.x for s in samples]), broken, partners=stacked([s.partners for s in samples]))


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
