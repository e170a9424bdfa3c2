"""What the loop needs to know about a kind of media: decode it, cut a crop from it, show it."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from torch import Tensor


class MediaError(ValueError):
    """A file that cannot be used: broken, empty, or of a kind that no installed decoder reads."""


class Blob(Protocol):
    """One encoded item of a source."""

    @property
    def name(self) -> str:
        """What the item is called in reports; unique within its source."""
        ...

    def open(self) -> Path | BinaryIO:
        """Return a path, or a file object at position 0."""
        ...


class Preview(Protocol):
    """Writes originals beside reconstructions where a person finds them."""

    def write(self, folder: Path, x: Tensor, x_hat: Tensor) -> dict[str, Any]:
        """Write files into `folder`.

        Args:
            folder: exists already.
            x, x_hat: media and reconstructions, on the CPU, float32, `[B, C, T]` or `[B, C, H, W]`.

        Returns:
            name -> `("image", uint8 [H, W, 3])` or `("audio", float [T], sample_rate_hz)` for TensorBoard.
        """
        ...


#: An item ready to be cut: decoded already (cache) or still encoded.
Item = np.ndarray | Blob


class Media(Protocol):
    """One kind of media."""

    #: lower-case file endings with the dot
    suffixes: tuple[str, ...]
    #: of a crop: `(C, T)` or `(C, H, W)`
    shape: tuple[int, ...]

    def decode(self, blob: Blob) -> np.ndarray:
        """Decode a whole item into the compact form that the cache keeps.

        Raises:
            Exception: anything; the caller counts the item as broken.
        """
        ...

    def crops_in(self, item: Item) -> float:
        """About how many crops fit into an item."""
        ...

    def crop(self, draw: Callable[[], Item], rng: np.random.Generator, train: bool) -> Tensor:
        """Cut one crop.

        Args:
            draw: gives the item; called again it gives other items of the source, to fill up short ones.
            rng: the only source of randomness.
            train: False leaves augmentation out.

        Returns:
            float32 `[C, T]` or `[C, H, W]` in the tokenizer's value range.
        """
        ...

    def preview(self) -> Preview:
        """Return the preview writer."""
        ...


def as_file(blob: Blob) -> BinaryIO:
    """Open a blob as a file object, whatever it is kept in."""
    source = blob.open()
    return open(source, "rb") if isinstance(source, Path) else source


def as_bytes(blob: Blob) -> bytes:
    """Read a blob whole."""
    source = blob.open()
    return source.read_bytes() if isinstance(source, Path) else source.read()


class MemoryBlob:
    """An item held as bytes."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.data = name, data

    def open(self) -> BinaryIO:
        """Return a fresh file object."""
        return io.BytesIO(self.data)
