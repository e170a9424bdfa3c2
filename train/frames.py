"""Clips where pictures are wanted: networks that look at single pictures look at each frame."""

from torch import Tensor


def pictures_of(x: Tensor) -> Tensor:
    """Frames of clips `[B, T, C, H, W]` as pictures `[B T, C, H, W]`; other media as they are."""
    return x.flatten(0, 1) if x.ndim == 5 else x
