"""Layers of Cosmos DV: convolutions, norms, attention and resampling, each over space or over time. None looks ahead.

NVIDIA/Cosmos-Tokenizer @ 3584ae752c, cosmos_tokenizer/modules/layers3d.py. Before the first frame of a clip, that frame is repeated.
Letters: B batch, C channels, T frames, h w positions of a frame, p side of a patch in pixels and frames.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...recomputable import Recomputable


class HaarPatches3d(nn.Module):
    """3-D Haar transform, log2 p times on all bands; no weights.

    Clips `[B, C, T, h, w]` with T = 1 + k p become `[B, C p^3, 1 + k, h / p, w / p]`: the first frame counts p times. In each step,
    pairs (a, b) along time, then rows, then columns become (a + b, a - b), and all eight bands are divided by 8.
    """

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size, self.steps = patch_size, int(math.log2(patch_size))

    def forward(self, x: Tensor) -> Tensor:
        """Fold `[B, C, T, h, w]` to `[B, C p^3, 1 + (T - 1) / p, h / p, w / p]`."""
        x = torch.cat([x[:, :, :1].expand(-1, -1, self.patch_size - 1, -1, -1), x], dim=2)
        for _ in range(self.steps):
            bands = [x]
            for axis in (2, 3, 4):
                pairs = [band.unflatten(axis, (-1, 2)).unbind(axis + 1) for band in bands]
                bands = [y for a, b in pairs for y in (a + b, a - b)]
            x = torch.cat(bands, dim=1) / 8
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """Unfold `[B, C p^3, t, h, w]` to `[B, C, 1 + (t - 1) p, h p, w p]`."""
        for _ in range(self.steps):
            bands = list(x.chunk(8, dim=1))
            for axis in (4, 3, 2):
                pairs = zip(bands[::2], bands[1::2], strict=True)
                bands = [torch.stack([a + b, a - b], dim=axis + 1).flatten(axis, axis + 1) for a, b in pairs]
            x = bands[0]
        return x[:, :, self.patch_size - 1 :]


class FrameNorm(nn.GroupNorm):
    """Group norm of each frame by itself, one group; `[B, C, T, h, w]`."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, T, h, w]`."""
        return _clips(super().forward(_frames(x)), len(x))


class SpaceConv(nn.Conv3d):
    """3x3 convolution of each frame; with `stride` 2 the zeros lie on the right and below."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, (1, 3, 3), stride=(1, stride, stride), padding=(0, 2 - stride, 2 - stride))


class TimeConv(nn.Conv3d):
    """Convolution over a frame and the two before it; `[B, C, T, h, w]` to `[B, C', T, h, w]`, with `stride` 2 to 1 + (T - 1) / 2."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, (3, 1, 1), stride=(stride, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, T, h, w]`."""
        return super().forward(torch.cat([x[:, :, :1], x[:, :, :1], x], dim=2))


class FactorConv(nn.Module):
    """A convolution of each frame, then one over time; `[B, C, T, h, w]` to `[B, C', T, h, w]`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.space, self.time = SpaceConv(in_channels, out_channels), TimeConv(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, T, h, w]`."""
        return self.time(self.space(x))


class ResBlock3d(nn.Module, Recomputable):
    """(norm, SiLU, factorised convolution) twice, plus the input; `[B, C, T, h, w]` to `[B, C', T, h, w]`."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = FrameNorm(in_channels), FrameNorm(out_channels)
        self.conv1, self.conv2 = FactorConv(in_channels, out_channels), FactorConv(out_channels, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv3d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, T, h, w]`."""
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class AxisAttention(nn.Module, Recomputable):
    """Attention of one head among the positions of each frame, or (`causal`) of each position to the frames up to its own."""

    def __init__(self, channels: int, *, causal: bool) -> None:
        super().__init__()
        self.causal, self.norm = causal, FrameNorm(channels)
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, T, h, w]`."""
        order = (0, 3, 4, 2, 1) if self.causal else (0, 2, 3, 4, 1)  # B h w T C, or B T h w C
        y = self.norm(x).permute(order)
        rows = y.flatten(0, 2) if self.causal else y.flatten(0, 1).flatten(1, 2)
        q, k, v = (linear(rows)[:, None] for linear in (self.q, self.k, self.v))
        found = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        back = (0, 4, 3, 1, 2) if self.causal else (0, 4, 1, 2, 3)
        return x + self.out(found).view(y.shape).permute(back)


class SpaceTimeAttention(nn.Module):
    """Attention within each frame, then over time; `[B, C, T, h, w]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.space, self.time = AxisAttention(channels, causal=False), AxisAttention(channels, causal=True)

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, T, h, w]`."""
        return self.time(self.space(x))


class Downsample3d(nn.Module):
    """Halve height and width, frames (1 + 2 k to 1 + k), or both: the mean plus a strided convolution; then a 1x1x1 convolution."""

    def __init__(self, channels: int, *, space: bool, time: bool) -> None:
        super().__init__()
        self.space = SpaceConv(channels, channels, stride=2) if space else None
        self.time = TimeConv(channels, channels, stride=2) if time else None
        self.mix = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, T, h, w]` to a half along the axes chosen."""
        if self.space is not None:
            x = self.space(F.pad(x, (0, 1, 0, 1))) + _clips(F.avg_pool2d(_frames(x), 2), len(x))
        if self.time is not None:
            mean = torch.cat([x[:, :, :1], x], dim=2).unflatten(2, (-1, 2)).mean(3)
            x = self.time(x) + mean
        return self.mix(x)


class Upsample3d(nn.Module):
    """Double frames (1 + k to 1 + 2 k), height and width, or both: repeat, plus a convolution of that; then a 1x1x1 convolution."""

    def __init__(self, channels: int, *, space: bool, time: bool) -> None:
        super().__init__()
        self.time = TimeConv(channels, channels) if time else None
        self.space = SpaceConv(channels, channels) if space else None
        self.mix = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, T, h, w]` to twice as much along the axes chosen."""
        if self.time is not None:
            x = x.repeat_interleave(2, dim=2)[:, :, 1:]
            x = self.time(x) + x
        if self.space is not None:
            x = x.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
            x = self.space(x) + x
        return self.mix(x)


def _frames(x: Tensor) -> Tensor:
    """Merge batch and time, `[B, C, T, h, w]` to `[B T, C, h, w]`."""
    return x.transpose(1, 2).flatten(0, 1)


def _clips(x: Tensor, batch: int) -> Tensor:
    """The reverse of `_frames`."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)
