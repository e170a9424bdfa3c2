"""Random crops of pictures for training, read as `encode` reads them, at random scales and flipped."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.media import IMAGE_ENDINGS, Blob, probe_image, read_pixels
from ...codecs.spec import ImageSpec, TokenizerSpec
from ..preview import ImagePreview
from .config import DataConfig
from .degrade import DegradeConfig, degraded
from .media import Item, Preview
from .places import Place
from .sizes import BucketConfig, several
from .windows import ResizedCropConfig


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(DataConfig):
    """How crops are cut from pictures.

    Attributes:
        crop: height and width of a crop in pixels; 0: the size that the tokenizer takes, 256 for one that takes any size. For
            tokenizers that take any size also several, `[224, 288, 352]`, of which each batch has one, drawn at random; or sizes of
            several aspects, `{area: 65536, aspects: [0.5, 1.0, 2.0]}`: see `BucketConfig`.
        valid_crop: height and width of crops of the validation data and of previews; 0: the largest of `crop`, with several aspects
            the largest of those that are nearest to a square.
        scales: the picture is shrunk by one of these, drawn at random among those at which a crop still fits.
        cover: instead of `scales`, a crop covers between these shares of the picture's shorter side: its shorter side is resized to a
            length from `crop / high` to `crop / low`, drawn evenly (ADM, LlamaGen: [0.8, 1]; [1, 1]: the whole shorter side). Crops of
            the validation data cover the share `high`. For crops that are not square, read: of the largest piece with their aspect.
        resized_crop: instead of `scales` and `cover`, torchvision's `RandomResizedCrop`: see `ResizedCropConfig`. Crops of the
            validation data cover the whole shorter side.
        place: "anywhere", at random, or "center": crops lie in the middle of the picture. Without effect on `resized_crop`.
        filter: with which pictures are resized.
        flip: mirror half of the crops.
        max_side: with `cache: memory`, larger pictures are shrunk to this long side; 0: kept as they are.
        degrade: blur, loss of size, noise and JPEG, after everything else, also of validation data; see `DegradeConfig`. A partner
            with `original: true` keeps the clean crop.
        min_std: crops flatter than this (standard deviation of grey values 0..255) are drawn again, up to
            8 times; skies and borders carry little information.
    """

    kind: ClassVar[str] = "images"
    crop: int | tuple[int, ...] | BucketConfig = 128
    valid_crop: int = 0
    scales: tuple[float, ...] = (1.0,)
    cover: tuple[float, float] | None = None
    resized_crop: ResizedCropConfig | None = None
    place: Literal["anywhere", "center"] = "anywhere"
    filter: Literal["lanczos", "bicubic", "bilinear"] = "lanczos"
    flip: bool = True
    max_side: int = 0
    min_std: float = 0.0
    degrade: DegradeConfig | None = None

    def __post_init__(self) -> None:
        sizes = () if isinstance(self.crop, BucketConfig) else several("data.crop", self.crop)
        if min((0, *sizes)) < 0 or not self.scales or not all(0 < s <= 1 for s in self.scales):
            raise ConfigError(f"data.crop is {self.crop}, data.scales are {self.scales}; need >= 0 and 0 < scale <= 1.")
        if self.resized_crop is not None and (self.cover is not None or self.scales != (1.0,)):
            raise ConfigError("data.resized_crop is given beside data.cover or data.scales; each says what a crop shows. Keep one.")
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
        images = Images(config, spec.channels, spec.value_range)
        for _, height, width in (*images.shapes, images.shape):
            if spec.image_size not in (None, (height, width)):
                raise ConfigError(
                    f"data.crop or data.valid_crop asks for crops of {height} x {width} pixels; this tokenizer takes pictures of "
                    f"{spec.image_size[0]} x {spec.image_size[1]} alone. Set data.crop to 0 or to that size, and no other beside it."
                )
        return images


#: Crop of a tokenizer that takes any size, where none is chosen.
_CROP = 256


class Images:
    """The `Media` of pictures. The cache keeps uint8, and float32 of grey pictures with more than 8 bits."""

    suffixes = IMAGE_ENDINGS

    def __init__(self, config: ImageDataConfig, channels: int, value_range: tuple[float, float]) -> None:
        if channels not in (1, 3):
            raise ConfigError(f"pictures for training have 1 or 3 channels; the tokenizer takes {channels}.")
        self.config, self.channels, self.value_range = config, channels, value_range
        crop = config.crop
        self.bucket = self._bucket if isinstance(crop, BucketConfig) else None
        sizes = crop.sizes if isinstance(crop, BucketConfig) else tuple((n, n) for n in several("data.crop", crop))
        self.shapes = tuple((channels, height, width) for height, width in sizes)
        # The largest one, among those that are nearest to a square.
        self.shape = max(self.shapes, key=lambda shape: (-max(shape[1:]) / min(shape[1:]), shape[1] * shape[2]))
        if config.valid_crop:
            self.shape = (channels, config.valid_crop, config.valid_crop)
        self.filter = Image.Resampling[config.filter.upper()]

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
        """Area of the picture at full size as a multiple of the largest crop's."""
        height, width = self._size(item)
        return height * width / max(h * w for _, h, w in self.shapes)

    def crop(
        self,
        draw: Callable[[], Item],
        rng: np.random.Generator,
        train: bool,
        *,
        shape: tuple[int, ...] | None = None,
        note: Callable[[Place], None] = lambda place: None,
    ) -> Tensor:
        """Return float32 `[C, H, W]` in the value range; `note` is called with the place of the crop in its picture."""
        size, item = (shape or self.shape)[1:], draw()
        image = item if isinstance(item, np.ndarray) else self.decode(item)  # [H, W(, 3)]
        place = self._place(image.shape[0], image.shape[1], (size[0], size[1]), rng, train)
        patch = place.cut(image, self.filter)
        for _ in range(7 if train and self.config.min_std > 0 else 0):
            if _spread(patch) >= self.config.min_std:
                break
            place = self._place(image.shape[0], image.shape[1], (size[0], size[1]), rng, train)
            patch = place.cut(image, self.filter)
        place = replace(place, mirrored=bool(train and self.config.flip and rng.random() < 0.5))
        note(place)
        return self._tensor(patch[:, ::-1] if place.mirrored else patch)

    def at(self, image: np.ndarray, place: Place) -> Tensor:
        """Return the crop of a decoded picture at a place, float32 `[C, H, W]` in the value range."""
        return self._tensor(place.cut(image, self.filter))

    def _tensor(self, patch: np.ndarray) -> Tensor:
        """Pixels `[H, W(, 3)]` as float32 `[C, H, W]` in the value range."""
        low, high = self.value_range
        white = 255 if patch.dtype == np.uint8 else 1
        x = torch.from_numpy(patch.copy()).float() * ((high - low) / white) + low  # [H, W(, C)]
        return x.expand(self.channels, -1, -1).contiguous() if x.ndim == 2 else x.permute(2, 0, 1).contiguous()  # [C, H, W]

    def degraded(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        """Return a crop as `config.degrade` leaves it; without that, unchanged."""
        return x if self.config.degrade is None else degraded(x, self.config.degrade, rng, self.value_range)

    def figures(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """`psnr` in dB, of pixels clipped to the value range; the mean over pictures."""
        low, high = self.value_range
        error = (x_hat.clamp(low, high) - x).square().flatten(1).mean(1) / (high - low) ** 2
        return {"psnr": float(-10 * error.clamp(min=1e-10).log10().mean())}

    def preview(self) -> Preview:
        """Return the writer of sheets of originals and reconstructions."""
        return ImagePreview(self.value_range)

    def _bucket(self, item: Item) -> int:
        """Index in `shapes` of the bucket of an item."""
        assert isinstance(self.config.crop, BucketConfig)
        return self.config.crop.bucket(*self._size(item))

    def _size(self, item: Item) -> tuple[int, int]:
        """Height and width of an item."""
        height, width = item.shape[:2] if isinstance(item, np.ndarray) else probe_image(item)
        return height, width

    def _extent(self, whole: tuple[float, float], size: tuple[int, int], rng: np.random.Generator, train: bool) -> tuple[float, float]:
        """Height and width of the piece that a crop shows, in pixels of the picture; `whole`: of the largest one of this aspect."""
        if self.config.cover is not None or self.config.resized_crop is not None:
            low, high = self.config.cover or (1.0, 1.0)
            share = 1 / high + (1 / low - 1 / high) * (rng.random() if train and self.config.cover is not None else 0.0)
            return whole[0] / share, whole[1] / share
        fitting = [s for s in self.config.scales if whole[0] * s >= size[0]] if train else [1.0]
        scale = fitting[int(rng.integers(len(fitting)))] if fitting else 1.0
        return min(size[0] / scale, whole[0]), min(size[1] / scale, whole[1])

    def _place(self, height: int, width: int, size: tuple[int, int], rng: np.random.Generator, train: bool) -> Place:
        """Draw the place of a crop; a picture smaller than the crop is enlarged to fit."""
        if train and self.config.resized_crop is not None:
            y, x, h, w = self.config.resized_crop.window(height, width, size, rng)
            return Place(top=y, left=x, height=h, width=w, picture=(height, width), size=size, alone=True)
        narrow = width * size[0] <= height * size[1]
        whole = (width * size[0] / size[1], width) if narrow else (height, height * size[1] / size[0])
        high, wide = self._extent(whole, size, rng, train)
        anywhere = train and self.config.place == "anywhere"
        left = (width - wide) * (rng.random() if anywhere else 0.5)
        top = (height - high) * (rng.random() if anywhere else 0.5)
        if (high, wide) == size:  # whole pixels: no resampling at the original scale
            top, left = int(top), int(left)
        return Place(top=top, left=left, height=high, width=wide, picture=(height, width), size=size)


def _spread(patch: np.ndarray) -> float:
    """Standard deviation of the grey values of a crop, for white of 255."""
    spread = patch.astype(np.float32).std(axis=(0, 1)).mean()
    return float(spread) * (1 if patch.dtype == np.uint8 else 255)
