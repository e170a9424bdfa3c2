"""Crops of a picture as COMiT reads them one after another: where they lie, which are allowed, and which training draws.

Letters: B batch, H W pixels of the picture, h w pixels of a crop, K crops.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...config import ConfigError

#: (top, left, height, width) in pixels of a picture of the tokenizer's `image_size`.
Box = tuple[int, int, int, int]


class Crop(NamedTuple):
    """One crop of each picture of a batch, of one size.

    Attributes:
        corners: int64 `[B, 2]` on the CPU, or `[1, 2]` for all items alike: row and column of the first pixel.
        size: (h, w).
    """

    corners: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, box: Box) -> "Crop":
        """The same crop of every picture."""
        top, left, height, width = box
        return cls(torch.tensor([[top, left]]), (height, width))

    def cut(self, x: Tensor) -> Tensor:
        """Crops `[B, 3, h, w]` of pictures `[B, 3, H, W]`."""
        h, w = self.size
        places = self.corners.tolist()
        if len(places) == 1:
            top, left = places[0]
            return x[..., top : top + h, left : left + w]
        return torch.stack([x[i, :, top : top + h, left : left + w] for i, (top, left) in enumerate(places)])

    def centres(self, image_size: tuple[int, int]) -> Tensor:
        """Centres `[B, 2]` (or `[1, 2]`), x before y, in units of half a picture from its middle: -1..1."""
        sides = torch.tensor(image_size, dtype=torch.float32)
        middles = self.corners + torch.tensor(self.size, dtype=torch.float32) / 2
        return (2 * middles / sides - 1).flip(-1)


def whole(image_size: tuple[int, int]) -> Box:
    """The picture itself."""
    return (0, 0, *image_size)


def usual_boxes(image_size: tuple[int, int], side: int, count: int) -> tuple[Box, ...]:
    """The whole picture, then `count` x `count` crops of `side` pixels, spread evenly, row by row."""
    steps = [[round(i * (n - side) / max(count - 1, 1)) for i in range(count)] for n in image_size]
    return (whole(image_size), *((top, left, side, side) for top in steps[0] for left in steps[1]))


def checked_boxes(boxes: Sequence[Sequence[int]], image_size: tuple[int, int], step: int) -> tuple[Box, ...]:
    """The boxes, if each lies inside the picture and its sides are multiples of `step`.

    Raises:
        ConfigError: no crop, one that reaches out of the picture, or one of another size.
    """
    if not boxes:
        raise ConfigError("crops is empty; give at least one (top, left, height, width), or leave it out for the usual ones.")
    for box in boxes:
        if len(box) != 4:
            raise ConfigError(f"a crop is {tuple(box)}; give (top, left, height, width) in pixels.")
        top, left, height, width = box
        for side in (height, width):
            if side < step or side % step:
                raise ConfigError(f"the crop {tuple(box)} is {height} x {width} pixels; both sides must be multiples of {step}.")
        if top < 0 or left < 0 or top + height > image_size[0] or left + width > image_size[1]:
            raise ConfigError(
                f"the crop {tuple(box)} reaches out of the picture: it ends at row {top + height} and column {left + width}, the "
                f"picture has {image_size[0]} x {image_size[1]} pixels. Crops are (top, left, height, width) in pixels of the picture "
                "after it was brought to the tokenizer's size."
            )
    return tuple((int(t), int(le), int(h), int(w)) for t, le, h, w in boxes)


def drawn_crops(batch: int, image_size: tuple[int, int], *, side: int, most: int, whole_first: float) -> list[Crop]:
    """Crops for one training batch: 1 to `most` of them, each of `side` pixels at any place, for each item another.

    Args:
        batch: B.
        image_size: (H, W).
        side: h = w of a crop.
        most: the largest K.
        whole_first: probability with which the first crop is the whole picture.
    """
    count = int(torch.randint(1, most + 1, ()))
    first = [Crop.of(whole(image_size))] if float(torch.rand(())) < whole_first else []
    places = [torch.stack([torch.randint(n - side + 1, (batch,)) for n in image_size], dim=1) for _ in range(count - len(first))]
    return [*first, *(Crop(corners, (side, side)) for corners in places)]
