"""Training data: sources, crops, order and batches, the same for pictures, sound, maps and stored features."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import DataConfig, Entries
    from .loader import Batch, Clips
    from .media import Media
    from .stream import StreamClips


def open_clips(
    entries: "Entries",
    media: "Media",
    settings: "DataConfig",
    *,
    seed: int,
    train: bool = True,
    say: Callable[[str], None] = lambda text: None,
    batch_size: int = 1,
) -> "Clips | StreamClips":
    """Return the crops of a data set, with random access; in order only, if the one entry is a streamed hub data set.

    Args:
        entries: where media come from (`data.train` or `data.valid` of a run).
        media: how items are decoded and cropped.
        settings: cache, visits and partners.
        seed: of order and crops.
        train: shuffle and augment.
        say: called with a line of progress while the cache fills.
        batch_size: crops in a batch, over all processes and all parts of a step: those for training have one size.
    """
    from ...codecs.media import HubDataset
    from .loader import Clips
    from .sources import as_list
    from .stream import StreamClips

    listed = as_list(entries)
    if len(listed) == 1 and isinstance(listed[0], HubDataset) and listed[0].streaming:
        return StreamClips(listed[0], media, settings, seed=seed, train=train, batch_size=batch_size)
    return Clips(entries, media, settings, seed=seed, train=train, say=say, batch_size=batch_size)


def open_batches(
    clips: "Clips | StreamClips", settings: "DataConfig", *, position: int, rows: int, size: int, rank: int, world: int
) -> "Iterator[Batch]":
    """Yield batches endlessly.

    Args:
        clips: what `open_clips` returned.
        settings: number of workers, and batches that each prepares ahead.
        position: first crop, counted over all processes.
        rows: in a stream, the number of rows of this process to skip.
        size: crops in a batch, over all processes.
        rank, world: number of this process, and of all.
    """
    from .loader import Clips, batches
    from .stream import stream_batches

    if isinstance(clips, Clips):
        return batches(clips, settings, position, size, rank=rank, world=world)
    return stream_batches(clips, settings, rows, size, rank=rank, world=world, position=position)
