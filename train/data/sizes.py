"""Sizes of crops that change from batch to batch: which ones there are, and how pictures are divided among them."""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...codecs.config import ConfigError

N = TypeVar("N", int, float)


@dataclass(frozen=True, kw_only=True)
class BucketConfig:
    """Sizes with aspects of their own; a picture goes to batches of the size that is nearest to it, so that little is cut off.

    Attributes:
        area: about height x width of a crop in pixels. Of several, a picture takes the largest one that is not above its own area (the
            smallest, if it is smaller than all).
        aspects: width / height of the crops. A picture takes the one whose ratio to its own aspect is nearest to 1.
        multiple: heights and widths are multiples of it.
    """

    area: int | tuple[int, ...]
    aspects: tuple[float, ...] = (0.5, 0.6667, 0.75, 1.0, 1.3333, 1.5, 2.0)
    multiple: int = 16

    def __post_init__(self) -> None:
        if not self.areas or not self.aspects or min((*self.areas, *self.aspects, self.multiple)) <= 0:
            raise ConfigError(
                f"data.crop has area {self.area}, aspects {list(self.aspects)} and multiple {self.multiple}; all must be above 0."
            )
        sizes = self.sizes
        if len(set(sizes)) < len(sizes):
            same = next(size for size in sizes if sizes.count(size) > 1)
            raise ConfigError(
                f"data.crop: two of its areas and aspects give the same crop of {same[0]} x {same[1]} pixels with multiples of "
                f"{self.multiple}. Leave one out, or take a smaller multiple."
            )

    @property
    def areas(self) -> tuple[int, ...]:
        """The areas, also if there is a single one."""
        return self.area if isinstance(self.area, tuple) else (self.area,)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each bucket: all aspects of the first area, then of the second, and so on."""
        return tuple((self._side(math.sqrt(n / a)), self._side(math.sqrt(n * a))) for n in self.areas for a in self.aspects)

    def bucket(self, height: int, width: int) -> int:
        """Index in `sizes` of the one that a picture of this size goes to."""
        far = [abs(math.log(width / height / aspect)) for aspect in self.aspects]
        below = [i for i, n in enumerate(self.areas) if n <= height * width]
        area = max(below, key=self.areas.__getitem__) if below else self.areas.index(min(self.areas))
        return area * len(self.aspects) + far.index(min(far))

    def _side(self, length: float) -> int:
        return max(1, round(length / self.multiple)) * self.multiple


def several(name: str, value: N | tuple[N, ...]) -> tuple[N, ...]:
    """Sizes of crops as a tuple, also if there is a single one.

    Raises:
        ConfigError: an empty list, or one that names a size twice; none may be 0 beside others.
    """
    sizes = value if isinstance(value, tuple) else (value,)
    if not sizes or len(set(sizes)) < len(sizes) or (len(sizes) > 1 and min(sizes) <= 0):
        raise ConfigError(f"{name} is {list(sizes)}; it names one size, or several different ones above 0, of which a batch has one.")
    return sizes


def drawn_size(seed: int, batch: int, sizes: int) -> int:
    """Which of `sizes` sizes a batch has: the same in every process and in every part of the batch, all equally likely."""
    return int(np.random.default_rng((seed, 5, batch)).integers(sizes)) if sizes > 1 else 0
