"""Where a crop lies in its picture, so that other pictures of the same scene get the same crop."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...codecs.media import MediaError


@dataclass(frozen=True, kw_only=True)
class Place:
    """A piece of a picture that becomes a crop.

    Attributes:
        top, left, height, width: of the piece, in pixels of the picture; not always whole ones.
        picture: height and width of the picture.
        size: height and width of the crop.
        mirrored: left and right of the crop are exchanged.
        alone: resampling reads no pixel beyond the piece.
    """

    top: float
    left: float
    height: float
    width: float
    picture: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool = False
    alone: bool = False

    def within(self, height: int, width: int) -> "Place":
        """The same piece of the same scene in a picture of another size.

        Raises:
            MediaError: a picture of another aspect.
        """
        (h, w) = self.picture
        if abs(height * w - width * h) > (h + w) / 2:  # more than the rounding of a size to whole pixels
            raise MediaError(f"it has {height} x {width} pixels, its item {h} x {w}: they differ in aspect.")
        y, x = height / h, width / w
        return dataclasses.replace(
            self, top=self.top * y, left=self.left * x, height=self.height * y, width=self.width * x, picture=(height, width)
        )

    def cut(self, image: np.ndarray, filter: Image.Resampling) -> np.ndarray:
        """Return the crop `[h, w(, 3)]` of a picture `[H, W(, 3)]` of this size, resampled if it is not made of whole pixels."""
        crop = self._piece(image, filter)
        return crop[:, ::-1] if self.mirrored else crop

    def nearest(self, image: np.ndarray) -> np.ndarray:
        """Return the crop `[h, w]` of numbers `[H, W]` between which there is nothing: each the nearest one."""
        rows = np.floor(self.top + (np.arange(self.size[0]) + 0.5) * (self.height / self.size[0])).astype(int)
        columns = np.floor(self.left + (np.arange(self.size[1]) + 0.5) * (self.width / self.size[1])).astype(int)
        crop = image[rows.clip(0, image.shape[0] - 1)][:, columns.clip(0, image.shape[1] - 1)]
        return crop[:, ::-1] if self.mirrored else crop

    def _piece(self, image: np.ndarray, filter: Image.Resampling) -> np.ndarray:
        high, wide = self.size
        if (self.height, self.width) == self.size and float(self.top).is_integer() and float(self.left).is_integer():
            return image[int(self.top) : int(self.top) + high, int(self.left) : int(self.left) + wide]
        # PIL gets only what the filter can reach (3 source pixels a target pixel): it copies all that it is given.
        reach = 0 if self.alone else int(3 * max(1.0, self.height / high, self.width / wide)) + 2
        x, y = max(0, int(self.left) - reach), max(0, int(self.top) - reach)
        part = image[y : int(np.ceil(self.top + self.height)) + reach, x : int(np.ceil(self.left + self.width)) + reach]
        left, top = self.left - x, self.top - y
        box = (left, top, min(left + self.width, part.shape[1]), min(top + self.height, part.shape[0]))  # without rounding errors
        return np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize((wide, high), filter, box=box))
