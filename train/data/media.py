"""What the loop needs to know about a kind of media: decode it, cut a crop from it, show it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ...codecs.media import Blob


class Preview(Protocol):
    """Writes originals beside reconstructions, as files for people."""

    def write(self, folder: Path, x: Tensor, x_hat: Tensor, *, names: Sequence[str] = ()) -> dict[str, Any]:
        """Write files into `folder`.

        Args:
            folder: exists already.
            x, x_hat: media and reconstructions, on the CPU, float32, `[B, C, T]` or `[B, C, H, W]`.
            names: of the B items in their source.

        Returns:
            name -> `("image", uint8 [H, W, 3])` or `("audio", float [T], sample_rate_hz)` for TensorBoard.
        """
        ...


#: An item ready to be cut: decoded already (cache) or still encoded.
Item = np.ndarray | Blob


class Media(Protocol):
    """Protocol of one kind of media: how items are decoded, cropped and previewed."""

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

    def figures(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """Figures of a validation batch in the media's own terms, by name, means over items; media and reconstructions of one shape."""
        ...

    def preview(self) -> Preview:
        """Return the writer of previews of this kind of media."""
        ...
