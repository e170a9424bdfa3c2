"""Random crops of stored maps: numbers of classes, depth, masks, features of frozen networks; for tokenizers of maps.

    Image.fromarray(classes).save("0001.png")    # whole numbers [H, W], grey or palette; or np.save
    np.save("0001.npy", features)                # floats [C, h, w]; of one channel also [H, W]

Letters: B batch, C channels, H W rows and columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.media import IMAGE_ENDINGS, Blob, MediaError, read_pixels, shown
from ...codecs.media.arrays import standardized
from ...codecs.media.errors import decoding
from ...codecs.spec import LatentSpec, MapSpec, TokenizerSpec
from ..preview import ImagePreview
from .arrays import holds_array, read_array, read_classes
from .config import DataConfig
from .media import Item, Preview
from .places import Place
from .sizes import several
from .windows import ResizedCropConfig


@dataclass(frozen=True, kw_only=True)
class MapDataConfig(DataConfig):
    """How crops are cut from maps.

    Files are `.npy` or `.safetensors`: whole numbers `[H, W]` of classes, else floats `[C, H, W]` (`[1, C, H, W]`; of one channel
    `[H, W]`). Classes, and maps of one or three channels, may be pictures as well: there floats are 0 (black) to 1 (white).

    Attributes:
        crop: height and width of a crop; several, `[224, 256, 288]`, of which each batch has one. A smaller map is enlarged.
        valid_crop: height and width of crops of the validation data and of previews; 0: the largest of `crop`.
        resized_crop: resize random pieces to the crop, see `ResizedCropConfig`; crops of the validation data then cover the whole
            shorter side. None: a crop is a piece of the map as it is. Classes take the nearest value, floats are interpolated.
        flip: mirror half of the crops. Features of a mirrored picture are not the mirrored features.
        standardize: a crop's mean becomes 0 and its deviation 1, both measured without the lowest and highest tenth of its values
            (4M's depth).
        cache: see `DataConfig`; floats are kept as float32.
    """

    kind: ClassVar[str] = "maps"
    crop: int | tuple[int, ...] = 224
    valid_crop: int = 0
    resized_crop: ResizedCropConfig | None = None
    flip: bool = False
    standardize: bool = False

    def __post_init__(self) -> None:
        sizes = several("data.crop", self.crop)
        if min(sizes) < 1 or self.valid_crop < 0:
            raise ConfigError(f"data.crop is {self.crop}, data.valid_crop {self.valid_crop}; need at least 1, and 0 or more.")
        if self.standardize and min(n for n in (*sizes, self.valid_crop or 2)) < 2:
            raise ConfigError("data.standardize needs crops of at least 2 x 2 values.")

    def media(self, spec: TokenizerSpec) -> "Maps":
        if not isinstance(spec, LatentSpec):
            raise ConfigError(f"data.kind is 'maps', but the tokenizer's modality is {spec.modality!r}.")
        classes = spec.classes if isinstance(spec, MapSpec) else 0
        if classes and self.standardize:
            raise ConfigError("data.standardize is for maps of floats; this tokenizer takes maps of classes.")
        return Maps(self, spec.channels, classes)


class Maps:
    """The `Media` of maps: crops are float32 `[C, H, W]`, of classes int64 `[H, W]`."""

    bucket = None

    def __init__(self, config: MapDataConfig, channels: int, classes: int) -> None:
        self.config, self.channels, self.classes = config, channels, classes
        pictures = IMAGE_ENDINGS if classes or channels in (1, 3) else ()
        self.suffixes = (".npy", ".safetensors", *pictures)
        sizes = several("data.crop", config.crop)
        self.shapes = tuple(self._shape(n) for n in sizes)
        self.shape = self._shape(config.valid_crop or max(sizes))

    def _shape(self, side: int) -> tuple[int, ...]:
        return (side, side) if self.classes else (self.channels, side, side)

    def decode(self, blob: Blob) -> np.ndarray:
        """Return a whole map: whole numbers `[H, W]` of classes, else float32 `[C, H, W]`.

        Raises:
            MediaError: another shape or number type, classes out of range, values that are not finite.
        """
        name = shown(blob.name)
        with decoding(name):
            x = self._classes(blob) if self.classes else self._floats(blob)
        return np.ascontiguousarray(x)

    def _classes(self, blob: Blob) -> np.ndarray:
        x = read_classes(blob, "map")
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= self.classes:
            raise MediaError(f"{shown(blob.name)} has classes {low}..{high}; the tokenizer takes 0..{self.classes - 1}.")
        return x

    def _floats(self, blob: Blob) -> np.ndarray:
        array = holds_array(blob) or blob.name.lower().endswith(".safetensors")
        x = read_array(blob, "map") if array else _grey_or_colours(blob, self.channels)
        x = x[0] if x.ndim == 4 and len(x) == 1 else x
        x = x[None] if x.ndim == 2 and self.channels == 1 else x
        if x.ndim != 3 or x.shape[0] != self.channels or not x.size or not np.issubdtype(x.dtype, np.floating):
            raise MediaError(f"{shown(blob.name)} holds {x.dtype} {list(x.shape)}; expected floats [C={self.channels}, H, W].")
        if not np.isfinite(x).all():
            raise MediaError(f"{shown(blob.name)} holds values that are not finite.")
        return x.astype(np.float32)

    def crops_in(self, item: Item) -> float:
        """Area of the map as a multiple of the largest crop's."""
        height, width = self._map(item).shape[-2:]
        return height * width / max(s[-2] * s[-1] for s in self.shapes)

    def crop(
        self, draw: Callable[[], Item], rng: np.random.Generator, train: bool, *, shape: tuple[int, ...] | None = None
    ) -> Tensor:
        """Return float32 `[C, H, W]`, or int64 `[H, W]` of classes."""
        x, size = self._map(draw()), (shape or self.shape)[-2:]
        place = self._place(x.shape[-2:], (size[0], size[1]), rng, train)
        place = replace(place, mirrored=bool(train and self.config.flip and rng.random() < 0.5))
        if self.classes:
            return torch.from_numpy(place.nearest(x).astype(np.int64))
        cut = torch.from_numpy(np.stack([place.cut(channel, Image.Resampling.BILINEAR) for channel in x]))
        return standardized(cut) if self.config.standardize else cut

    def figures(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """Of classes `accuracy`, the share of positions with the right one; of floats nothing beside the losses."""
        return {"accuracy": float((x == x_hat).float().mean())} if self.classes else {}

    def preview(self) -> Preview:
        """Return the writer of originals and reconstructions as arrays, and as pictures where they can be drawn."""
        return MapPreview(self.classes)

    def _map(self, item: Item) -> np.ndarray:
        return item if isinstance(item, np.ndarray) else self.decode(item)

    def _place(self, whole: tuple[int, ...], size: tuple[int, int], rng: np.random.Generator, train: bool) -> Place:
        """Draw the place of a crop in a map of `whole` = (height, width)."""
        height, width = whole
        pieces = self.config.resized_crop
        if train and pieces is not None:
            top, left, high, wide = pieces.window(height, width, size, rng)
            return Place(top=top, left=left, height=high, width=wide, picture=(height, width), size=size, alone=True)
        scale = min(height / size[0], width / size[1])  # of the largest piece with the crop's aspect
        scale = scale if pieces is not None else min(scale, 1.0)
        free = (height - size[0] * scale, width - size[1] * scale)
        if scale == 1:  # whole positions: no interpolation
            y, x = (int(rng.integers(int(n) + 1)) if train else int(n) // 2 for n in free)
        else:
            y, x = (n * (rng.random() if train else 0.5) for n in free)
        return Place(top=y, left=x, height=size[0] * scale, width=size[1] * scale, picture=(height, width), size=size)


def _grey_or_colours(blob: Blob, channels: int) -> np.ndarray:
    """A picture as float32 `[channels, H, W]`, 0 black and 1 white."""
    pixels = read_pixels(blob)
    if channels == 1 and pixels.ndim == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    x = pixels.astype(np.float32) / (255 if pixels.dtype == np.uint8 else 1)
    return np.broadcast_to(x, (channels, *x.shape)) if x.ndim == 2 else x.transpose(2, 0, 1)


class MapPreview:
    """Writes `maps.npz`: `x`, `x_hat` and the items' `names`; `grid.png` as well of classes and of maps with one or three channels."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def write(self, folder: Path, x: Tensor, x_hat: Tensor, *, names: Sequence[str] = ()) -> dict[str, Any]:
        """Write batches `[B, C, H, W]`, or `[B, H, W]` of classes; see `data.media.Preview`."""
        np.savez(folder / "maps.npz", x=x.numpy(), x_hat=x_hat.numpy(), names=np.array(names, dtype=str))
        if self.classes:
            colours = torch.rand(self.classes, 3, generator=torch.Generator().manual_seed(0))
            drawn = [colours[y.long()].permute(0, 3, 1, 2) for y in (x, x_hat)]
            return ImagePreview((0.0, 1.0)).write(folder, *drawn, names=names)
        if x.shape[1] not in (1, 3):
            return {}
        low, high = float(x.min()), float(x.max())
        return ImagePreview((low, max(high, low + 1e-6))).write(folder, x, x_hat, names=names)
