"""Where training media come from: sources, crops, order and batches, the same for pictures and sound."""

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
) -> "Clips | StreamClips":
    """Return crops of `entries`: by position, or in order where the one entry is a streamed data set."""
    from ...codecs.media import HubDataset
    from .loader import Clips
    from .sources import as_list
    from .stream import StreamClips

    listed = as_list(entries)
    if len(listed) == 1 and isinstance(listed[0], HubDataset) and listed[0].streaming:
        return StreamClips(listed[0], media, seed=seed, train=train)
    return Clips(entries, media, settings, seed=seed, train=train, say=say)


def open_batches(
    clips: "Clips | StreamClips", settings: "DataConfig", *, position: int, rows: int, size: int, rank: int, world: int
) -> "Iterator[Batch]":
    """Yield batches endlessly from crop `position` on, or in a stream from row `rows` of this process on."""
    from .loader import Clips, batches
    from .stream import stream_batches

    if isinstance(clips, Clips):
        return batches(clips, settings, position, size, rank=rank, world=world)
    return stream_batches(clips, settings, rows, size, rank=rank, world=world)
