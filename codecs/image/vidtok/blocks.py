"""Layers of VidTok: convolutions over space, over time and over both, norms, attention and resampling.

microsoft/VidTok @ d6ad92d98e, vidtok/modules/model_3d{causal,causal_v1_1,noncausal}.py. The kinds differ in what stands beside a clip:

    causal        zeros before the first frame
    causal_v1_1   the first frame again, before it
    noncausal     zeros on both sides (where frames are halved, after the last one alone)

Letters: B batch, C channels, T frames, h w positions of a frame.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...recomputable import Recomputable

Kind = Literal["causal", "causal_v1_1", "noncausal"]


def beside(x: Tensor, kind: Kind, *, stride: int = 1) -> Tensor:
    """Frames `[B, C, T, h, w]` with 2 more, or 1 more for `stride` 2, as convolutions over three frames see them."""
    if kind == "noncausal":
        return F.pad(x, (0, 0, 0, 0, 2 - stride, 1))
    if kind == "causal":
        return F.pad(x, (0, 0, 0, 0, 3 - stride, 0))
    return torch.cat([x[:, :, :1].expand(-1, -1, 3 - stride, -1, -1), x], dim=2)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each position, `[B, C, T, h, w]`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, T, h, w]`."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Pointwise(nn.Linear):
    """Linear map of the channels, `[B, C, T, h, w]` to `[B, C', T, h, w]`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, T, h, w]`."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class SpaceConv(nn.Conv2d):
    """3x3 convolution of each frame; with `stride` 2 the zeros lie on the right and below."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride=stride, padding=2 - stride)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, T, h, w]`."""
        frames = x.transpose(1, 2).flatten(0, 1)
        frames = F.pad(frames, (0, 1, 0, 1)) if self.stride == (2, 2) else frames
        return super().forward(frames).unflatten(0, (len(x), -1)).transpose(1, 2)


class TimeConv(nn.Conv1d):
    """Convolution of each position over three frames, `[B, C, T, h, w]`."""

    def __init__(self, in_channels: int, out_channels: int, *, kind: Kind) -> None:
        super().__init__(in_channels, out_channels, 3)
        self.kind: Kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, T, h, w]`."""
        return F.conv3d(beside(x, self.kind), self.weight[..., None, None], self.bias)


class ClipConv(nn.Conv3d):
    """3x3x3 convolution, `[B, C, T, h, w]`; with `stride` 2 it halves the frames."""

    def __init__(self, in_channels: int, out_channels: int, *, kind: Kind, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride=(stride, 1, 1), padding=(0, 1, 1))
        self.kind: Kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, T, h, w]`."""
        return super().forward(beside(x, self.kind, stride=self.stride[0]))


class ResBlock(nn.Module, Recomputable):
    """(norm, SiLU, convolution) twice, plus the input; `[B, C, T, h, w]` to `[B, C', T, h, w]`.

    Args:
        conv: builds a convolution of given input and output channels.
        in_channels, out_channels: C and C'.
        dropout: dropout probability in training.
    """

    def __init__(self, conv: Callable[[int, int], nn.Module], in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(in_channels), ChannelNorm(out_channels)
        self.conv1, self.conv2 = conv(in_channels, out_channels), conv(out_channels, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = Pointwise(in_channels, out_channels) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, T, h, w]`."""
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class FrameAttention(nn.Module, Recomputable):
    """Attention of one head among the positions of each frame, plus the input; `[B, C, T, h, w]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, T, h, w]`."""
        y = self.norm(x).movedim(1, -1)  # B T h w C
        rows = y.flatten(2, 3)
        found = F.scaled_dot_product_attention(self.q(rows), self.k(rows), self.v(rows))
        return x + self.out(found).view(y.shape).movedim(-1, 1)


class SpaceUp(nn.Module):
    """Double height and width: repeat, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = SpaceConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, T, h, w]` to `[B, C, T, 2 h, 2 w]`."""
        return self.conv(x.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4))


class TimeDown(nn.Module):
    """Halve the frames: the mean of three, mixed with a strided convolution by one learned share; `[B, C, T, h, w]`, T even."""

    def __init__(self, channels: int, *, kind: Kind) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.conv = ClipConv(channels, channels, kind=kind, stride=2)
        self.mix = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, T, h, w]` to `[B, C, T / 2, h, w]`."""
        share, y = torch.sigmoid(self.mix), beside(x, self.kind, stride=2)
        mean = (y[:, :, :-1:2] + y[:, :, 1::2] + y[:, :, 2::2]) / 3
        return share * mean + (1 - share) * self.conv(x)


class TimeUp(nn.Module):
    """Double the frames: repeat or interpolate, mixed with a convolution of that by one learned share.

    Args:
        channels: C.
        kind: what stands beside a clip.
        alone: number of frames at the start, those of the first step, that are interpolated among themselves, and the rest among
            themselves; None: repeat frames.
    """

    def __init__(self, channels: int, *, kind: Kind, alone: int | None) -> None:
        super().__init__()
        self.alone, self.conv = alone, ClipConv(channels, channels, kind=kind)
        self.mix = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, T, h, w]` to `[B, C, 2 T, h, w]`."""
        share, n = torch.sigmoid(self.mix), self.alone
        x = x.repeat_interleave(2, dim=2) if n is None else torch.cat([_between(y) for y in (x[:, :, :n], x[:, :, n:])], dim=2)
        return share * x + (1 - share) * self.conv(x)


def _between(x: Tensor) -> Tensor:
    """Frames `[B, C, T, h, w]` interpolated linearly to twice as many; T may be 0."""
    return F.interpolate(x, scale_factor=(2.0, 1.0, 1.0), mode="trilinear") if x.shape[2] else x
