"""The one reader of picture files, and of PIL pictures. Letters: H W pixels."""

import struct
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from .blobs import Source, opened
from .errors import MediaError, decoding
from .limits import check_pixels
from .orientation import orientation, upright

#: Formats that are read. Others are never tried, above all those whose readers start other programs (EPS, WMF) or read other files.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")


def read_image(source: Source, *, name: str = "", max_pixels: int | None = None) -> Tensor:
    """Read a picture file as float32 `[3, H, W]` in 0..1, upright, on white where it is transparent.

    Args:
        source: a path, bytes, an open binary file (read from its beginning), or a blob. Of an animation the first frame is read.
        name: name of the picture in messages; "": its path.
        max_pixels: larger pictures are refused before they are decoded; None: `limits.max_pixels()`.

    Raises:
        FileNotFoundError, MediaError: missing, no regular file, unreadable, of another format, or too large.
    """
    return as_floats(read_pixels(source, name=name, max_pixels=max_pixels))


def read_pixels(source: Source, *, name: str = "", max_pixels: int | None = None) -> np.ndarray:
    """As `read_image`, but uint8 `[H, W, 3]`, or for grey with more than 8 bits float32 `[H, W]` in 0..1."""
    with opened(source, name) as medium, decoding(medium.name):
        image = open_picture(medium.file, medium.name)
        check_pixels(image.width, image.height, medium.name, max_pixels)
        return pixels_of(image, medium.name)


def read_labels(source: Source, *, name: str = "") -> np.ndarray:
    """Read a picture file whose pixels are numbers of classes: integers `[H, W]`, upright; of a palette, the indices.

    Raises:
        FileNotFoundError, MediaError: as `read_image`; a picture of colours, of floats, or with transparency of its own.
    """
    with opened(source, name) as medium, decoding(medium.name):
        image = open_picture(medium.file, medium.name)
        check_pixels(image.width, image.height, medium.name)
        return labels_of(image, medium.name)


def labels_of(image: Any, name: str) -> np.ndarray:
    """Numbers of classes of a PIL picture, as `read_labels` returns them."""
    with decoding(name):
        _quietly(image.load)
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise MediaError(f"{name} has pixels of mode {image.mode}; numbers of classes are grey (8 or 16 bits) or a palette.")
        labels = np.array(upright(image))
        return labels.astype(np.uint8) if labels.dtype == bool else labels


def probe_image(source: Source, *, name: str = "") -> tuple[int, int]:
    """Height and width of a picture file, upright, without decoding it.

    Raises:
        FileNotFoundError, MediaError: as `read_image`.
    """
    with opened(source, name) as medium, decoding(medium.name):
        image = open_picture(medium.file, medium.name)
        check_pixels(image.width, image.height, medium.name)
        return (image.width, image.height) if orientation(image) >= 5 else (image.height, image.width)


def open_picture(file: BinaryIO, name: str) -> Any:
    """Open a PIL picture without decoding it. `Image.open` is not used: it has its own fixed limit on pixels, and warns below it."""
    from PIL import Image

    Image.init()
    head = file.read(16)
    for format in FORMATS:
        if format not in Image.OPEN:
            continue  # a Pillow without AVIF
        opener, accepts = Image.OPEN[format]

        def attempt(opener: Callable[..., Any] = opener) -> Any:
            file.seek(0)
            return opener(file, "")

        try:
            answer = True if accepts is None else accepts(head)
            if answer and not isinstance(answer, str):  # text: known, but its library is not installed
                return _quietly(attempt)
        except (SyntaxError, IndexError, TypeError, KeyError, EOFError, struct.error):
            continue  # as Pillow does: not this format after all
    raise MediaError(f"cannot read {name}: no picture of a known format; {', '.join(FORMATS)} are allowed.")


def _quietly(call: Callable[[], Any]) -> Any:
    """Call Pillow; a warning that is raised as an error (`python -W error`), such as about broken Exif, is ignored."""
    try:
        return call()
    except Warning:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()


def pixels_of(image: Any, name: str) -> np.ndarray:
    """Pixels of a PIL picture of any mode, as `read_pixels` returns them: upright, on white, 16 bits kept."""
    from PIL import Image

    with decoding(name):
        _quietly(image.load)
        image = upright(image)
        if image.mode.startswith("I") or image.mode == "F":
            return _deep_grey(image, name)
        if image.mode == "La":
            image = image.convert("LA")  # Pillow can convert from LA
        if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)  # convert() copies


def _deep_grey(image: Any, name: str) -> np.ndarray:
    """Pixels `[H, W]` in 0..1 of a grey PIL picture of 16 bits (also in 32-bit integers) or of floats in 0..1."""
    grey = np.array(image, dtype=np.float32)
    top = 1 if image.mode == "F" else 65535
    low, high = float(grey.min()), float(grey.max())  # NaN where there is one
    if not (low >= 0 and high <= top):
        raise MediaError(f"{name}: grey of mode {image.mode} with values {low:.4g}..{high:.4g}; 0..{top} is allowed. Rescale them.")
    return grey / top


def as_floats(pixels: np.ndarray) -> Tensor:
    """Convert the output of `read_pixels` to float32 `[3, H, W]` in 0..1."""
    if pixels.ndim == 2:
        return torch.from_numpy(pixels).expand(3, -1, -1).contiguous()
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)
