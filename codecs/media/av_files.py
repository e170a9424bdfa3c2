"""Sound files that libsndfile does not read, with PyAV (FFmpeg): m4a, aac, g722, webm, and rare codecs in other containers."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .blobs import Medium
from .decoder import Decoder
from .errors import MediaError

#: Allowed containers. Others (play lists, "concat", subtitles, network streams) can refer to further files, and are refused.
_CONTAINERS = "mov,mp4,m4a,aac,matroska,webm,ogg,flac,mp3,wav,w64,aiff,au,caf,g722"
#: Seconds that may be missing from the length that a container states: encoders count their own delay differently.
_SLACK_SECONDS = 0.1


def open_av(medium: Medium, first: Exception) -> Decoder:
    """Open a file with PyAV. Raises MediaError if it cannot be read.

    Args:
        medium: the open file; PyAV gets the file object, never a name, which FFmpeg could take for a URL.
        first: error of libsndfile, for messages.
    """
    name, reason = medium.name, str(getattr(first, "error_string", first))
    try:
        import av
    except ImportError:
        raise MediaError(f"cannot read {name}: {reason} For more formats, install the package 'av'.") from first
    options: dict[str, Any] = {"format": "g722"} if name.lower().endswith(".g722") else {}
    options["options"] = {"format_whitelist": _CONTAINERS}

    def blocks(start: int, stop: int | None) -> Iterator[np.ndarray]:
        medium.file.seek(0)
        at = 0
        with av.open(medium.file, **options) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="flt")
            for frame in container.decode(stream):
                for packed in resampler.resample(frame):
                    block = packed.to_ndarray().reshape(-1, channels)  # [t, C]
                    at += len(block)
                    if at > start:
                        yield block[max(0, len(block) - (at - start)) : len(block) - max(0, at - (stop or at))]
                    if stop is not None and at >= stop:
                        return
            seconds = _claimed_seconds(container, stream)
        if at / rate < seconds - _SLACK_SECONDS:
            raise MediaError(f"{name} is truncated: {at / rate:.2f} of {seconds:.2f} seconds are there.")

    medium.file.seek(0)
    try:
        with av.open(medium.file, **options) as container:
            if not container.streams.audio:
                raise MediaError(f"cannot read {name}: it holds no sound.")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise MediaError(f"cannot read {name}: FFmpeg has no decoder for its sound.")
            rate, channels = int(stream.rate or 0), int(stream.channels or 0)
    except av.FFmpegError as error:
        raise MediaError(f"cannot read {name}: libsndfile reports {reason!r}, FFmpeg {error.strerror!r}.") from error
    return Decoder(rate, channels, None, blocks)


def _claimed_seconds(container: Any, stream: Any) -> float:
    """Length in seconds stored in the file; 0: none is stored, and FFmpeg could only estimate it."""
    if "matroska" in container.format.name:
        return (container.duration or 0) / 1e6
    if "mov" in container.format.name and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return 0.0
