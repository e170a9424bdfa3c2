"""Pictures: decode with PIL, random crops at random scales, flips."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ..preview import ImagePreview
from .config import DataConfig
from .media import Blob, Item, MediaError, Preview, as_file


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(DataConfig):
    """How crops are cut from pictures.

    Attributes:
        crop: height and width of a crop in pixels.
        scales: the picture is shrunk by one of these, drawn at random among those at which a crop still fits.
        flip: mirror half of the crops.
        max_side: with `cache: memory`, larger pictures are shrunk to this long side; 0: kept as they are.
        min_std: crops flatter than this (standard deviation of grey values 0..255) are drawn again, up to
            8 times; skies and borders teach little.
    """

    kind: ClassVar[str] = "images"
    crop: int = 128
    scales: tuple[float, ...] = (1.0,)
    flip: bool = True
    max_side: int = 0
    min_std: float = 0.0

    def __post_init__(self) -> None:
        if self.crop < 1 or not self.scales or not all(0 < s <= 1 for s in self.scales):
            raise ConfigError(f"data.crop is {self.crop}, data.scales are {self.scales}; need >= 1 and 0 < scale <= 1.")

    def media(self, spec: TokenizerSpec) -> "Images":
        if spec.modality != "image":
            raise ConfigError(f"data.kind is 'images', but the tokenizer's modality is {spec.modality!r}.")
        return Images(self, spec.channels, spec.value_range)  # type: ignore[attr-defined]


class Images:
    """The `Media` of pictures."""

    suffixes = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

    def __init__(self, config: ImageDataConfig, channels: int, value_range: tuple[float, float]) -> None:
        if channels not in (1, 3):
            raise ConfigError(f"pictures have 1 or 3 channels here; the tokenizer wants {channels}.")
        self.config, self.channels, self.value_range = config, channels, value_range
        self.shape = (channels, config.crop, config.crop)

    def decode(self, blob: Blob) -> np.ndarray:
        """Return uint8 `[H, W, 3]` or `[H, W]`, shrunk to `max_side`."""
        image = open_picture(blob, "RGB" if self.channels == 3 else "L")
        limit = self.config.max_side
        if limit and max(image.size) > limit:
            ratio = limit / max(image.size)
            image = image.resize(
                (max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), Image.Resampling.LANCZOS
            )
        return np.asarray(image)

    def crops_in(self, item: Item) -> float:
        """Area in crops at full size."""
        if isinstance(item, np.ndarray):
            height, width = item.shape[:2]
        else:
            with Image.open(as_file(item)) as image:
                width, height = image.size
        return height * width / self.config.crop**2

    def crop(self, draw: Callable[[], Item], rng: np.random.Generator, train: bool) -> Tensor:
        """Return float32 `[C, crop, crop]` in the value range."""
        item = draw()
        image = item if isinstance(item, np.ndarray) else self.decode(item)  # [H, W(, 3)]
        for _ in range(8 if train and self.config.min_std > 0 else 1):
            patch = self._cut(image, rng, train)
            if patch.astype(np.float32).std(axis=(0, 1)).mean() >= self.config.min_std:
                break
        if train and self.config.flip and rng.random() < 0.5:
            patch = patch[:, ::-1]
        low, high = self.value_range
        x = torch.from_numpy(patch.copy()).float() * ((high - low) / 255) + low  # [H, W(, C)]
        return x[None] if x.ndim == 2 else x.permute(2, 0, 1).contiguous()  # [C, H, W]

    def preview(self) -> Preview:
        """Return the grid writer."""
        return ImagePreview(self.value_range)

    def _cut(self, image: np.ndarray, rng: np.random.Generator, train: bool) -> np.ndarray:
        """One crop, uint8 `[crop, crop(, 3)]`; a picture smaller than the crop is enlarged to fit."""
        height, width = image.shape[:2]
        size, short = self.config.crop, min(height, width)
        fitting = [s for s in self.config.scales if short * s >= size] if train else [1.0]
        scale = fitting[int(rng.integers(len(fitting)))] if fitting else 1.0
        side = min(size / scale, short)
        left = (width - side) * (rng.random() if train else 0.5)
        top = (height - side) * (rng.random() if train else 0.5)
        if side == size:  # whole pixels: no resampling at the original scale
            return image[int(top) : int(top) + size, int(left) : int(left) + size]
        # PIL gets only what the filter can reach (3 source pixels a target pixel): it copies all that it is given.
        reach = int(3 * max(1.0, side / size)) + 2
        x, y = max(0, int(left) - reach), max(0, int(top) - reach)
        part = image[y : int(top + side) + reach + 1, x : int(left + side) + reach + 1]
        box = (left - x, top - y, left - x + side, top - y + side)
        whole = Image.fromarray(np.ascontiguousarray(part))
        return np.asarray(whole.resize((size, size), Image.Resampling.LANCZOS, box=box))


def open_picture(blob: Blob, mode: str) -> Image.Image:
    """Decode a picture upright, transparency laid over white, in mode "RGB" or "L".

    Raises:
        MediaError: not a picture that PIL reads.
    """
    try:
        with as_file(blob) as file, Image.open(file) as image:
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16") or image.mode == "I":  # 16 bits a channel: PIL's convert would clip
                image = Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().clip(0, 255).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"not a readable picture ({error})") from error
