"""Random crops of pictures for training, read as `encode` reads them, at random scales and flipped."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.media import IMAGE_ENDINGS, Blob, probe_image, read_pixels
from ...codecs.spec import ImageSpec, TokenizerSpec
from ..preview import ImagePreview
from .config import DataConfig
from .media import Item, Preview


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(DataConfig):
    """How crops are cut from pictures.

    Attributes:
        crop: height and width of a crop in pixels; 0: the size that the tokenizer takes, 256 for one that takes any size.
        scales: the picture is shrunk by one of these, drawn at random among those at which a crop still fits.
        cover: instead of `scales`, a crop covers between these shares of the picture's shorter side: its shorter side is resized to a
            length from `crop / high` to `crop / low`, drawn evenly (ADM, LlamaGen: [0.8, 1]; [1, 1]: the whole shorter side). Crops of
            the validation data cover the share `high`.
        flip: mirror half of the crops.
        max_side: with `cache: memory`, larger pictures are shrunk to this long side; 0: kept as they are.
        min_std: crops flatter than this (standard deviation of grey values 0..255) are drawn again, up to
            8 times; skies and borders carry little information.
    """

    kind: ClassVar[str] = "images"
    crop: int = 128
    scales: tuple[float, ...] = (1.0,)
    cover: tuple[float, float] | None = None
    flip: bool = True
    max_side: int = 0
    min_std: float = 0.0

    def __post_init__(self) -> None:
        if self.crop < 0 or not self.scales or not all(0 < s <= 1 for s in self.scales):
            raise ConfigError(f"data.crop is {self.crop}, data.scales are {self.scales}; need >= 0 and 0 < scale <= 1.")
        if self.cover is not None and not (0 < self.cover[0] <= self.cover[1] <= 1 and self.scales == (1.0,)):
            raise ConfigError(
                f"data.cover is {list(self.cover)}, data.scales are {list(self.scales)}; need 0 < low <= high <= 1, without scales."
            )

    def media(self, spec: TokenizerSpec) -> "Images":
        if spec.modality != "image":
            raise ConfigError(f"data.kind is 'images', but the tokenizer's modality is {spec.modality!r}.")
        assert isinstance(spec, ImageSpec)
        config = self
        if not self.crop:
            height, width = spec.image_size or (_CROP, _CROP)
            if height != width:
                raise ConfigError(f"this tokenizer takes pictures of {height} x {width}; crops are square.")
            config = replace(self, crop=height)
        return Images(config, spec.channels, spec.value_range)


#: Crop of a tokenizer that takes any size, where none is chosen.
_CROP = 256


class Images:
    """The `Media` of pictures. The cache keeps uint8, and float32 of grey pictures with more than 8 bits."""

    suffixes = IMAGE_ENDINGS

    def __init__(self, config: ImageDataConfig, channels: int, value_range: tuple[float, float]) -> None:
        if channels not in (1, 3):
            raise ConfigError(f"pictures for training have 1 or 3 channels; the tokenizer takes {channels}.")
        self.config, self.channels, self.value_range = config, channels, value_range
        self.shape = (channels, config.crop, config.crop)

    def decode(self, blob: Blob) -> np.ndarray:
        """Return uint8 `[H, W, 3]` or `[H, W]`, or deep grey as float32 `[H, W]` in 0..1; shrunk to `max_side`."""
        pixels = read_pixels(blob)
        if self.channels == 1 and pixels.ndim == 3:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        height, width = pixels.shape[:2]
        limit = self.config.max_side
        if limit and max(height, width) > limit:
            ratio = limit / max(height, width)
            size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        return pixels

    def crops_in(self, item: Item) -> float:
        """Area of the picture at full size as a multiple of the crop area."""
        height, width = item.shape[:2] if isinstance(item, np.ndarray) else probe_image(item)
        return height * width / self.config.crop**2

    def crop(self, draw: Callable[[], Item], rng: np.random.Generator, train: bool) -> Tensor:
        """Return float32 `[C, crop, crop]` in the value range."""
        item = draw()
        image = item if isinstance(item, np.ndarray) else self.decode(item)  # [H, W(, 3)]
        white = 255 if image.dtype == np.uint8 else 1
        for _ in range(8 if train and self.config.min_std > 0 else 1):
            patch = self._cut(image, rng, train)
            if patch.astype(np.float32).std(axis=(0, 1)).mean() * (255 / white) >= self.config.min_std:
                break
        if train and self.config.flip and rng.random() < 0.5:
            patch = patch[:, ::-1]
        low, high = self.value_range
        x = torch.from_numpy(patch.copy()).float() * ((high - low) / white) + low  # [H, W(, C)]
        return x.expand(self.channels, -1, -1).contiguous() if x.ndim == 2 else x.permute(2, 0, 1).contiguous()  # [C, H, W]

    def figures(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """`psnr` in dB, of pixels clipped to the value range; the mean over pictures."""
        low, high = self.value_range
        error = (x_hat.clamp(low, high) - x).square().flatten(1).mean(1) / (high - low) ** 2
        return {"psnr": float(-10 * error.clamp(min=1e-10).log10().mean())}

    def preview(self) -> Preview:
        """Return the writer of sheets of originals and reconstructions."""
        return ImagePreview(self.value_range)

    def _side(self, short: int, rng: np.random.Generator, train: bool) -> float:
        """Length of a crop's side in pixels of a picture whose shorter side is `short`."""
        size, cover = self.config.crop, self.config.cover
        if cover is not None:
            return short / (1 / cover[1] + (1 / cover[0] - 1 / cover[1]) * (rng.random() if train else 0.0))
        fitting = [s for s in self.config.scales if short * s >= size] if train else [1.0]
        return min(size / (fitting[int(rng.integers(len(fitting)))] if fitting else 1.0), short)

    def _cut(self, image: np.ndarray, rng: np.random.Generator, train: bool) -> np.ndarray:
        """One crop `[crop, crop(, 3)]` of the picture's own number type; a picture smaller than the crop is enlarged to fit."""
        height, width = image.shape[:2]
        size, short = self.config.crop, min(height, width)
        side = self._side(short, rng, train)
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
