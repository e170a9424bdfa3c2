"""Schedules of multi-scale kinds: the grids from coarse to fine, their concatenated ids, and resizing to the full grid.

Letters: B batch, D channels, H W the full grid, h w the grid of one scale, S' positions of the first scales.
"""

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError

#: (height, width) of every scale, from coarse to fine.
Scales = tuple[tuple[int, int], ...]


def check_scales(scales: Scales) -> None:
    """Raise ConfigError unless there is at least one scale, and all have positions."""
    if not scales or min(min(s) for s in scales) < 1:
        raise ConfigError(f"scales is {scales}; give (height, width) pairs, at least one, all positive.")


def stretched(scales: Scales, grid: tuple[int, ...] | None) -> Scales:
    """The schedule for latents of `grid`: all scales stretched by the ratio of `grid` to the last scale.

    Sides are rounded to the nearest number (half to even, as Python's `round`) and are at least 1. ValueError if `grid` has not two
    sides.
    """
    height, width = scales[-1]
    if grid is None or tuple(grid) == (height, width):
        return scales
    if len(grid) != 2:
        raise ValueError(f"multi-scale quantizers need a grid (height, width); got {tuple(grid)}.")
    h, w = grid
    return tuple((max(1, round(a * h / height)), max(1, round(b * w / width))) for a, b in scales)


def unrolled(z: Tensor, scales: Scales) -> Tensor:
    """Latents `[B, D, L]` as `[B, D, H, W]`, the grid of the last scale; ValueError if L is not H W."""
    if z.shape[2] != scales[-1][0] * scales[-1][1]:
        raise ValueError(f"{z.shape[2]} positions do not fill a grid of {scales[-1]}; pass grid=(height, width).")
    return z.unflatten(2, scales[-1])


def split_ids(ids: Tensor, scales: Scales) -> list[Tensor]:
    """Split ids `[B, K, S']` of the first scales into those of each scale, `[B, K, h w]`; ValueError if a scale is incomplete."""
    parts, at = [], 0
    for h, w in scales:
        if at == ids.shape[2]:
            break
        parts.append(ids[:, :, at : at + h * w])
        at += h * w
    if at != ids.shape[2] or not parts:
        raise ValueError(f"{ids.shape[2]} positions do not end with a scale of the schedule {scales}.")
    return parts


def enlarged(x: Tensor, full: tuple[int, int], mode: str) -> Tensor:
    """Interpolate `[B, D, h, w]` to the size `full`, `[B, D, H, W]`."""
    return F.interpolate(x, size=full, mode=mode, align_corners=None if mode == "nearest" else False)


class Phis(nn.ModuleList):
    """Convolutions over enlarged scales, phi(h) = (1 - r) h + r conv(h), that the scales share (VAR, section 3.2).

    Args:
        width: D.
        count: number of convolutions, each for the scales nearest to its tick on 0..1; 0: one for each scale.
        scales: number of scales.
        ratio: r; 0: no convolutions at all.
    """

    def __init__(self, width: int, count: int, scales: int, ratio: float) -> None:
        count = (count or scales) if ratio > 1e-6 else 0
        super().__init__(nn.Conv2d(width, width, 3, padding=1) for _ in range(count))
        self.ratio = ratio
        self.of_scale = phi_of_scale(count, scales) if count else ()

    def at(self, index: int) -> nn.Conv2d:
        """The convolution of scale `index`, from 0."""
        conv = self[self.of_scale[index]]
        assert isinstance(conv, nn.Conv2d)
        return conv


def phi_of_scale(count: int, scales: int) -> tuple[int, ...]:
    """Index of the convolution (of `count`) of each scale: the one with the tick nearest to scale / (scales - 1)."""
    edge = 1 / 3 / count if count == 4 else 1 / 2 / count
    ticks = np.linspace(edge, 1 - edge, count)
    return tuple(int(np.argmin(np.abs(ticks - i / max(scales - 1, 1)))) for i in range(scales))
