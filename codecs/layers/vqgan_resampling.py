"""Downsampling and upsampling of VQGAN and its descendants, and folding of pixels into channels before the first layer.

Letters: B batch, C channels, H W positions, p side of a patch.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.conv2d import Conv2d, DoublingConv2d, HalvingConv2d
from ..kernels.mode import Layer2d


class Downsample(Layer2d):
    """Halve height and width, both even; `[B, C, H, W]` to `[B, C, H / 2, W / 2]`.

    Args:
        channels: C.
        kind: "conv": 3x3, stride 2, zeros on the right and below (taming). "conv_centred": zeros on all sides
            (Open-MAGVIT2). "average": mean of 2x2, no weights (MaskGIT). "residual": that mean, plus a 3x3 convolution
            to C / 4 channels whose 2x2 positions become channels (DC-AE, arXiv 2410.10733; ILLUME+).
    """

    def __init__(self, channels: int, kind: Literal["conv", "conv_centred", "average", "residual"]) -> None:
        super().__init__()
        self.kind = kind
        if kind == "conv":
            self.conv: nn.Conv2d = HalvingConv2d(channels, channels)
        elif kind == "conv_centred":
            self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        elif kind == "residual":
            self.conv = Conv2d(channels, channels // 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, C, H / 2, W / 2]`."""
        if self.kind == "average":
            return F.avg_pool2d(x, 2)
        y = self.conv(x)
        return F.pixel_unshuffle(y, 2) + F.avg_pool2d(x, 2) if self.kind == "residual" else y


class Upsample(Layer2d):
    """Double height and width; `[B, C, H, W]` to `[B, C, 2 H, 2 W]`.

    Args:
        channels: C.
        kind: "nearest_conv": repeat each position 2 x 2, then a 3x3 convolution (taming). "nearest": repeat only.
            "depth_to_space": a 3x3 convolution to 4 C channels in the order (row, column, C) (Open-MAGVIT2; TensorFlow's
            order). "pixel_shuffle": the same in the order (C, row, column) (PyTorch's order). "residual": as
            "pixel_shuffle", plus the repeated input (DC-AE; ILLUME+).
    """

    def __init__(self, channels: int, kind: Literal["nearest_conv", "nearest", "depth_to_space", "pixel_shuffle", "residual"]) -> None:
        super().__init__()
        self.kind = kind
        if kind == "nearest_conv":
            self.conv: nn.Conv2d = DoublingConv2d(channels, channels)
        elif kind != "nearest":
            self.conv = Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, C, 2 H, 2 W]`."""
        if self.kind == "nearest":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        y = self.conv(x)
        if self.kind == "nearest_conv":
            return y
        if self.kind == "depth_to_space":
            y = y.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)  # [B, C 4, H, W], C slowest
        y = F.pixel_shuffle(y, 2)
        return y + F.interpolate(x, scale_factor=2.0, mode="nearest") if self.kind == "residual" else y


class HaarPatches(nn.Module):
    """2-D Haar transform, log2 p times on all bands: `[B, C, H, W]` to `[B, C p^2, H / p, W / p]`; no weights.

    A 2x2 block (a b / c d) becomes (a+b+c+d, a+b-c-d, a-b+c-d, a-b-c+d) / 4, band by band; Cosmos-Tokenizer.
    """

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.steps = int(math.log2(patch_size))
        if 2**self.steps != patch_size:
            raise ValueError(f"patch_size is {patch_size}; Haar patches need a power of two.")

    def forward(self, x: Tensor) -> Tensor:
        """Fold `[B, C, H, W]` to `[B, C p^2, H / p, W / p]`."""
        for _ in range(self.steps):
            a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
            top, bottom, top_edge, bottom_edge = a + b, c + d, a - b, c - d
            bands = (top + bottom, top - bottom, top_edge + bottom_edge, top_edge - bottom_edge)
            x = torch.cat(bands, dim=1) / 4
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """Unfold `[B, C p^2, H / p, W / p]` to `[B, C, H, W]`."""
        for _ in range(self.steps):
            mean, rows, columns, cross = x.chunk(4, dim=1)
            left_top, left_bottom = mean + rows, mean - rows
            right_top, right_bottom = columns + cross, columns - cross
            pixels = (
                left_top + right_top,
                left_top - right_top,
                left_bottom + right_bottom,
                left_bottom - right_bottom,
            )
            x = F.pixel_shuffle(torch.stack(pixels, dim=2).flatten(1, 2), 2)
        return x


class FoldPatches(nn.Module):
    """Fold p x p pixels into channels, laid out as (C, row, column), and back; no weights."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def forward(self, x: Tensor) -> Tensor:
        """Fold `[B, C, H, W]` to `[B, C p^2, H / p, W / p]`."""
        return F.pixel_unshuffle(x, self.patch_size)

    def inverse(self, x: Tensor) -> Tensor:
        """Unfold `[B, C p^2, H / p, W / p]` to `[B, C, H, W]`."""
        return F.pixel_shuffle(x, self.patch_size)
