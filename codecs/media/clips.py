"""Conversion of clips of pictures in any accepted form to checked tensors. `as_clips` lists the accepted forms.

Letters: B batch, T frames, H W pixels.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import as_tensor, is_array, kind_of
from .blobs import Medium, Source, is_encoded, opened
from .errors import MediaError, decoding
from .items import Picture
from .limits import check_pixels, max_pixels
from .picture_files import as_floats, open_picture, pixels_of
from .pictures import Range, as_pictures, medium_of_row

#: Picture formats whose further pictures are frames; those of others (TIFF, MPO) are pages, or the same picture at other sizes.
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
#: Allowed containers. Others (play lists, "concat", network streams) can refer to further files, and are refused.
CONTAINERS = "mov,mp4,m4a,3gp,matroska,webm,avi,mpeg,mpegts,ogg"


def as_clips(media: Any, value_range: Range, *, given_range: Range | None = None, frames: int | None = None) -> list[Tensor]:
    """Convert media of any accepted form to checked clips: float32 `[T, 3, H, W]` in `value_range`, sizes may differ.

    Args:
        media: one clip or a list of clips:
            - an array `[T, 3, H, W]` or `[T, H, W, 3]`, or a list of pictures in memory (arrays, PIL pictures) of one size;
            - a path, bytes, an open file or a cell of `datasets` of an animation (GIF, PNG, WebP, AVIF), a film (with the package
              'av') or a picture; an animated PIL picture;
            - a batch of clips `[B, T, 3, H, W]`, or a list of clips. Of paths, a list is one of clips;
            - a single picture: a clip of one frame.
        value_range, given_range: as in `as_pictures`.
        frames: of longer clips take this many frames, evenly spaced, from the first to the last; None: all.

    Raises:
        FileNotFoundError, MediaError: what came, what is allowed, what to do.
    """
    if isinstance(media, (list, tuple)):
        if not media:
            raise MediaError("got an empty list; pass at least one picture, or one clip.")
        single = [_is_picture(m) for m in media]
        if any(single) and not all(single):
            raise MediaError(
                "got a list of pictures and clips: are the pictures frames, or clips of one frame? Pass a list of clips, with "
                "[picture] for a clip of one frame."
            )
        if not any(single):
            return [_one(m, f"clip {i}", value_range, given_range, frames) for i, m in enumerate(media)]
    elif is_array(media) and getattr(media, "ndim", 0) == 5:
        x = media if isinstance(media, Tensor) else np.asarray(media)
        if 0 in x.shape:
            raise MediaError(f"got an empty batch of clips, {list(x.shape)}; pass at least one clip of at least one frame.")
        count, pictures = x.shape[0], as_pictures(x.reshape(-1, *x.shape[2:]), value_range, given_range=given_range)
        clips = torch.stack(pictures).unflatten(0, (count, -1))  # [B, T, 3, H, W]
        return list(clips) if frames is None or frames >= clips.shape[1] else [clip[spaced(len(clip), frames)] for clip in clips]
    return [_one(media, "the clip", value_range, given_range, frames)]


def spaced(count: int, most: int | None) -> list[int]:
    """Indices of at most `most` of `count` frames, evenly spaced, with the first and the last; None: all."""
    if most is None or most >= count:
        return list(range(count))
    return [0] if most == 1 else [round(i * (count - 1) / (most - 1)) for i in range(most)]


def read_clip(source: Source, *, name: str = "", frames: int | None = None, most_pixels: int | None = None) -> Tensor:
    """Read an animation, a film or a picture as float32 `[T, 3, H, W]` in 0..1; frames of films upright.

    Args:
        source: a path, bytes, an open binary file (read from its beginning), or a blob.
        name: name of the clip in messages; "": its path.
        frames: as in `as_clips`.
        most_pixels: clips of more, all frames together, are refused before they are decoded; None: `limits.max_pixels()`.

    Raises:
        FileNotFoundError, MediaError: missing, unreadable, of another format, or too large.
    """
    with opened(source, name) as medium, decoding(medium.name):
        try:
            image = open_picture(medium.file, medium.name)
        except MediaError as error:
            return _film(medium, error, frames, most_pixels)
        return _animation(image, medium.name, frames, most_pixels)


def _one(media: Any, name: str, value_range: Range, given_range: Range | None, frames: int | None) -> Tensor:
    if isinstance(media, Mapping):
        media, name = medium_of_row(media, name)
    if is_encoded(media) or (hasattr(media, "getbands") and getattr(media, "is_animated", False)):
        clip = _animation(media, name, frames) if hasattr(media, "getbands") else read_clip(media, frames=frames)
        low, high = value_range
        return clip if value_range == (0, 1) else clip.mul_(high - low).add_(low)
    if is_array(media) and getattr(media, "ndim", 0) in (4, 5):
        if media.ndim == 5:
            raise MediaError(f"{name}: got {kind_of(media)}, a batch; pass list(batch), or the batch alone.")
        x = as_tensor(media, name) if isinstance(media, Tensor) else np.asarray(media)
        media = x[spaced(len(x), frames)]
    elif isinstance(media, (list, tuple)):
        media = [media[i] for i in spaced(len(media), frames)]
    pictures = as_pictures(media, value_range, given_range=given_range)
    if len({p.shape for p in pictures}) > 1:
        shapes = sorted({f"{p.shape[2]} x {p.shape[1]}" for p in pictures})
        raise MediaError(f"{name}: its frames are of the sizes {', '.join(shapes)}; frames of a clip have one size. Resize them.")
    return torch.stack(pictures)


def _is_picture(media: Any) -> bool:
    """True for a single picture in memory."""
    still = hasattr(media, "getbands") and not getattr(media, "is_animated", False)
    return still or isinstance(media, Picture) or (is_array(media) and getattr(media, "ndim", 0) in (2, 3))


def _animation(image: Any, name: str, frames: int | None, most_pixels: int | None = None) -> Tensor:
    """Frames of an open PIL picture."""
    count = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    wanted, out = spaced(count, frames), []
    check_size(image.width, image.height, len(wanted), name, most_pixels)
    with decoding(name):
        for index in wanted:
            if count > 1:
                image.seek(index)
            out.append(as_floats(pixels_of(image, name)))
    return torch.stack(out)


def _film(medium: Medium, first: Exception, frames: int | None, most_pixels: int | None) -> Tensor:
    """Frames of a file that PyAV reads; `first` is the error of the reader of pictures."""
    try:
        import av
    except ImportError:
        raise MediaError(f"{first} To read films, install the package 'av'.") from first
    options = {"format_whitelist": CONTAINERS}

    def decoded() -> Iterator[Any]:
        medium.file.seek(0)
        with av.open(medium.file, "r", options=options) as container:
            if not container.streams.video:
                raise MediaError(f"cannot read {medium.name}: it holds no pictures.")
            yield from container.decode(container.streams.video[0])

    try:
        count = sum(1 for _ in decoded()) if frames is not None else None
        wanted = None if count is None else set(spaced(count, frames))
        out: list[Tensor] = []
        for index, frame in enumerate(decoded()):
            if wanted is None or index in wanted:
                check_size(frame.width, frame.height, len(out) + 1, medium.name, most_pixels)
                turned = np.rot90(frame.to_ndarray(format="rgb24"), round(getattr(frame, "rotation", 0) / 90))
                out.append(as_floats(np.ascontiguousarray(turned)))
    except av.FFmpegError as error:
        raise MediaError(f"cannot read {medium.name}: no picture, and as a film FFmpeg reports {error.strerror!r}.") from error
    if not out:
        raise MediaError(f"cannot read {medium.name}: it holds no frame.")
    return torch.stack(out)


def check_size(width: int, height: int, frames: int, name: str, most_pixels: int | None) -> None:
    """Raise MediaError where all frames together are larger than `most_pixels` (None: than a picture may be)."""
    most = max_pixels() if most_pixels is None else most_pixels
    check_pixels(width, height, name, most)
    if width * height * frames > most:
        raise MediaError(
            f"{name}: {frames} frames of {width} x {height} pixels: refused; at most {most} pixels are allowed, all frames "
            "together. Take fewer frames (the option frames), shrink them, or raise the limit: TOKENZOO_MAX_PIXELS."
        )
