"""Reading, checking and preparing media: the same code for encoding, training, evaluation and bulk jobs.

    as_waveforms(media, default_rate_hz=16000, channels=1)      # any accepted form -> [Waveform]
    as_pictures(media, (-1.0, 1.0))                             # -> [tensor [3, H, W]]
    as_clips(media, (-1.0, 1.0))                                # -> [tensor [T, 3, H, W]]
    read_audio(source), read_image(source)                      # one file, or part of a sound file

`limits.py` defines how large media may be, and how to raise these limits. Every problem is a `MediaError`; nothing is silently
clipped, dropped or guessed.
"""

from .blobs import (
    Blob,
    BrokenBlob,
    CellBlob,
    FileBlob,
    MemoryBlob,
    Source,
    TarBlob,
    at_hand,
    is_path,
    open_cell,
    open_regular,
    opened,
)
from .clips import as_clips, read_clip
from .endings import AUDIO_ENDINGS, ENDINGS, IMAGE_ENDINGS, VIDEO_ENDINGS, endings_of, is_film
from .errors import MediaError, shown
from .items import Picture, Prepared, Waveform
from .limits import MAX_PIXELS, MAX_SAMPLES
from .picture_files import probe_image, read_image, read_labels, read_pixels
from .pictures import as_pictures
from .resampling import resample, resample_short
from .rows import HubDataset, RowBlob, datasets_package, load_hub, undecoded
from .sound_files import probe_audio, read_audio
from .walk import Seen, expand_braces, matches, walk
from .waveforms import MAX_PEAK, as_waveform, as_waveforms, to_channels

__all__ = [
    "AUDIO_ENDINGS",
    "ENDINGS",
    "IMAGE_ENDINGS",
    "MAX_PEAK",
    "MAX_PIXELS",
    "MAX_SAMPLES",
    "VIDEO_ENDINGS",
    "Blob",
    "BrokenBlob",
    "CellBlob",
    "FileBlob",
    "HubDataset",
    "MediaError",
    "MemoryBlob",
    "Picture",
    "Prepared",
    "RowBlob",
    "Seen",
    "Source",
    "TarBlob",
    "Waveform",
    "as_clips",
    "as_pictures",
    "as_waveform",
    "as_waveforms",
    "at_hand",
    "datasets_package",
    "endings_of",
    "expand_braces",
    "is_film",
    "is_path",
    "load_hub",
    "matches",
    "open_cell",
    "open_regular",
    "opened",
    "probe_audio",
    "probe_image",
    "read_audio",
    "read_clip",
    "read_image",
    "read_labels",
    "read_pixels",
    "resample",
    "resample_short",
    "shown",
    "to_channels",
    "undecoded",
    "walk",
]
