"""What the loop needs to know about a kind of media: decode it, cut a crop from it, show it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...codecs.media import Blob
from ...codecs.spec import MapSpec, TokenizerSpec


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


def noise(spec: TokenizerSpec, count: int, shape: tuple[int, ...]) -> Tensor:
    """Made-up media to try a tokenizer out with: float32 `[count, *shape]` in 0..0.2, of classes random ones; always the same."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(spec, MapSpec) and spec.classes:
        return torch.randint(spec.classes, (count, *shape), generator=generator)
    return torch.rand(count, *shape, generator=generator) * 0.2


#: An item ready to be cut: decoded already (cache) or still encoded.
Item = np.ndarray | Blob


class Media(Protocol):
    """Protocol of one kind of media: how items are decoded, cropped and previewed."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Lower-case file endings with the dot."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a crop of the validation data and of previews: `(C, T)` or `(C, H, W)`."""
        ...

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of crops for training; each batch has one of them."""
        ...

    @property
    def bucket(self) -> Callable[[Item], int] | None:
        """Gives the index in `shapes` of the one that an item has in training; None: it may have any."""
        ...

    def decode(self, blob: Blob) -> np.ndarray:
        """Decode a whole item into the compact form that the cache keeps.

        Raises:
            Exception: anything; the caller counts the item as broken.
        """
        ...

    def crops_in(self, item: Item) -> float:
        """About how many crops fit into an item."""
        ...

    def crop(
        self, draw: Callable[[], Item], rng: np.random.Generator, train: bool, *, shape: tuple[int, ...] | None = None
    ) -> Tensor:
        """Cut one crop.

        Args:
            draw: gives the item; called again it gives other items of the source, to fill up short ones.
            rng: the only source of randomness.
            train: False leaves augmentation out.
            shape: one of `shapes`; None: `shape` of this object.

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
