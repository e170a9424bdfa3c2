"""Random pieces of a picture as torchvision's `RandomResizedCrop` draws them: with an area and an aspect of their own."""

import math
from dataclasses import dataclass

import numpy as np

from ...codecs.config import ConfigError

#: Draws after which a piece that does not fit into the picture is replaced by the largest one in its middle.
_DRAWS = 10


@dataclass(frozen=True, kw_only=True)
class ResizedCropConfig:
    """A piece of the picture that is resized to the crop, whatever its aspect.

    Attributes:
        scale: the piece's share of the picture's area, drawn evenly from this range.
        ratio: width / height of the piece over that of the crop, drawn from this range, its logarithm evenly.
    """

    scale: tuple[float, float] = (0.8, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)

    def __post_init__(self) -> None:
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise ConfigError(
                f"data.resized_crop has scale {list(self.scale)} and ratio {list(self.ratio)}; need 0 < low <= high, and scale up to 1."
            )

    def window(
        self, height: int, width: int, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Draw a piece.

        Args:
            height, width: of the picture in pixels.
            size: height and width of the crop.
            rng: source of randomness.

        Returns:
            `(top, left, height, width)` of the piece in whole pixels.
        """
        low, high = (r * size[1] / size[0] for r in self.ratio)
        for _ in range(_DRAWS):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
            h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < h <= height and 0 < w <= width:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        if width / height < low:
            h, w = min(height, max(1, round(width / low))), width
        elif width / height > high:
            h, w = height, min(width, max(1, round(height * high)))
        else:
            h, w = height, width
        return (height - h) // 2, (width - w) // 2, h, w
