"""A window of a clip for training: some frames in a row, at a rate, from any place, without the rest in memory.

Letters: T frames, H W pixels.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .blobs import Medium, Source, opened
from .clips import ANIMATED, CONTAINERS, check_size
from .errors import MediaError, decoding
from .picture_files import open_picture, pixels_of

#: Seconds that a frame of an animation is shown, where the file does not say.
_SHOWN_SECONDS = 0.1


def read_window(source: Source, *, frames: int | None, rate_hz: float = 0.0, share: float = 0.0, name: str = "") -> np.ndarray:
    """Read frames of an animation, a film or a picture as uint8 `[T, H, W, 3]`.

    Args:
        source: a path, bytes, an open binary file (read from its beginning), or a blob.
        frames: T; where the clip is shorter, its last frame is repeated. None: all, as many as there are.
        rate_hz: frames a second of the clip's own time; 0: every frame.
        share: where the window lies: 0 at the beginning, 1 at the end of the clip.
        name: name of the clip in messages; "": its path.

    Raises:
        FileNotFoundError, MediaError: missing, unreadable, of another format, or too large.
    """
    with opened(source, name) as medium, decoding(medium.name):
        try:
            image = open_picture(medium.file, medium.name)
        except MediaError as error:
            found = _of_film(medium, error, frames, rate_hz, share)
        else:
            found = _of_animation(image, medium.name, frames, rate_hz, share)
        out = np.stack(found)
    missing = 0 if frames is None else frames - len(out)
    return np.concatenate([out, out[-1:].repeat(missing, 0)]) if missing else out


def _begin(seconds: float, step: float, frames: int | None, share: float) -> float:
    """Time at which the window begins, in a clip of `seconds` whose frames are taken every `step` seconds."""
    return 0.0 if frames is None else share * max(0.0, seconds - frames * step)


def _picked(timed: Iterator[tuple[float, Any]], begin: float, step: float, frames: int | None) -> Iterator[Any]:
    """Of frames with their times, those that are shown at `begin`, `begin + step`, ...; the last of `timed` is only an end."""
    before: Any = None
    count = 0
    for time, frame in timed:
        while before is not None and begin + count * step < time - 1e-6 and count != frames:
            yield before
            count += 1
        if count == frames:
            return
        before = frame


def _of_animation(image: Any, name: str, frames: int | None, rate_hz: float, share: float) -> list[np.ndarray]:
    count = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    times, seconds = [], 0.0
    check_size(image.width, image.height, 1, name, None)
    for index in range(count):
        if count > 1:
            image.seek(index)
        times.append(seconds)
        seconds += float(image.info.get("duration", 0) or 0) / 1000 or _SHOWN_SECONDS
    if not rate_hz:
        first = round(share * max(0, count - frames)) if frames is not None else 0
        wanted = iter(range(first, count if frames is None else min(count, first + frames)))
    else:
        begin = _begin(seconds, 1 / rate_hz, frames, share)
        wanted = _picked(iter([*zip(times, range(count), strict=True), (seconds, None)]), begin, 1 / rate_hz, frames)
    out: list[np.ndarray] = []
    for index in wanted:
        check_size(image.width, image.height, len(out) + 1, name, None)
        out.append(_pixels(image, index, count, name))
    return out


def _pixels(image: Any, index: int, count: int, name: str) -> np.ndarray:
    if count > 1:
        image.seek(index)
    pixels = pixels_of(image, name)
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _of_film(medium: Medium, first: Exception, frames: int | None, rate_hz: float, share: float) -> list[np.ndarray]:
    """Frames of a file that PyAV reads, from the key frame before the window on; `first` is the error of the reader of pictures."""
    try:
        import av
    except ImportError:
        raise MediaError(f"{first} To read films, install the package 'av'.") from first
    out: list[np.ndarray] = []
    try:
        medium.file.seek(0)
        with av.open(medium.file, "r", options={"format_whitelist": CONTAINERS}) as container:
            if not container.streams.video:
                raise MediaError(f"cannot read {medium.name}: it holds no pictures.")
            stream = container.streams.video[0]
            shown = 1 / float(stream.average_rate or 1 / _SHOWN_SECONDS)
            step = 1 / rate_hz if rate_hz else shown
            begin = _begin(float(container.duration or 0) / 1e6, step, frames, share)
            if begin > 0:
                container.seek(int(begin * 1e6), backward=True)
            for frame in _picked(_timed(container.decode(stream), shown), begin, step, frames):
                check_size(frame.width, frame.height, len(out) + 1, medium.name, None)
                out.append(np.ascontiguousarray(_upright(frame)))
    except av.FFmpegError as error:
        raise MediaError(f"cannot read {medium.name}: no picture, and as a film FFmpeg reports {error.strerror!r}.") from error
    if not out:
        raise MediaError(f"cannot read {medium.name}: it holds no frame.")
    return out


def _timed(decoded: Iterator[Any], shown: float) -> Iterator[tuple[float, Any]]:
    """Frames with their times, and the end of the last one, which is shown for `shown` seconds."""
    time = 0.0
    for frame in decoded:
        time = float(frame.time or 0.0)
        yield time, frame
    yield time + shown, None


def _upright(frame: Any) -> np.ndarray:
    return np.rot90(frame.to_ndarray(format="rgb24"), round(getattr(frame, "rotation", 0) / 90))
