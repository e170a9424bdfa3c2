"""The U-Net of guided diffusion: residual blocks under a time, self-attention at some strides, skips from down to up.

Dhariwal and Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", arXiv 2105.05233; parity checked through 4M's copy of
it (apple/ml-4m @ cda590faa3, fourm/vq/models/unet/unet.py).

Letters: B batch, C channels, H W of the map, E width of the time's vector.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...kernels.conv2d import Conv2d
from ...recomputable import Recomputable
from .diffusion import time_waves


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Settings of `UNet`; the defaults are those of 4M's patched U-Net.

    Attributes:
        width: channels that `multipliers` multiply.
        blocks: residual blocks of a level on the way down; one more on the way up.
        multipliers: channels of each level as multiples of `width`, from the finest; each level has half the side of the one before.
        attention_strides: strides at which every residual block is followed by self-attention.
        heads: attention heads, unless `head_width` is set.
        head_width: channels of a head; 0: channels divided by `heads`.
        up_heads: heads on the way up; 0: the same as `heads`.
        scale_shift: the time scales and shifts after the second norm, instead of being added before it.
        resample_blocks: residual blocks that halve and double, instead of a convolution or a mean.
        resample_convs: halve by strided convolutions, double with a convolution after; otherwise halve by means, double by repetition.
        groups: number of groups of every GroupNorm.
        dropout: dropout probability in residual blocks.
        zero_init: the last convolution of every branch, and of the net, starts at zero.
    """

    width: int = 256
    blocks: int = 3
    multipliers: tuple[float, ...] = (1, 2, 2, 2)
    attention_strides: tuple[int, ...] = (4, 8)
    heads: int = 1
    head_width: int = 0
    up_heads: int = 0
    scale_shift: bool = False
    resample_blocks: bool = False
    resample_convs: bool = True
    groups: int = 32
    dropout: float = 0.0
    zero_init: bool = True

    def __post_init__(self) -> None:
        for c in self.widths:
            if c % self.groups:
                raise ConfigError(f"{c} channels do not divide into {self.groups} groups; see width and multipliers.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(int(self.width * m) for m in self.multipliers)

    @property
    def stride(self) -> int:
        """Number of which H and W must be multiples."""
        return 2 ** (len(self.multipliers) - 1)


class TimedResBlock(nn.Module, Recomputable):
    """skip(x) + convolution(SiLU(norm(convolution(SiLU(norm(x))) + time))), `[B, C, H, W]`; may halve or double first."""

    def __init__(self, c: UNetConfig, channels: int, out: int, *, resample: str = "") -> None:
        super().__init__()
        self.scale_shift, self.resample = c.scale_shift, resample
        self.norm_in, self.conv_in = nn.GroupNorm(c.groups, channels), Conv2d(channels, out, 3, padding=1)
        self.time = nn.Linear(4 * c.width, out * (1 + c.scale_shift))
        self.norm_out, self.conv_out = nn.GroupNorm(c.groups, out), Conv2d(out, out, 3, padding=1)
        self.dropout = nn.Dropout(c.dropout)
        self.skip = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)
        if c.zero_init:
            _zero(self.conv_out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Apply the block; `time` is `[B, E]`."""
        y = self.conv_in(_resampled(F.silu(self.norm_in(x)), self.resample))
        add = self.time(F.silu(time))[:, :, None, None]
        if self.scale_shift:
            scale, shift = add.chunk(2, dim=1)
            y = self.norm_out(y) * (1 + scale) + shift
        else:
            y = self.norm_out(y + add)
        return self.skip(_resampled(x, self.resample)) + self.conv_out(self.dropout(F.silu(y)))


class MapAttention(nn.Module):
    """x + self-attention over all positions of norm(x), `[B, C, H, W]`."""

    def __init__(self, c: UNetConfig, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = channels // c.head_width if c.head_width else heads
        if self.heads < 1 or channels % self.heads or (c.head_width and channels % c.head_width):
            raise ConfigError(f"{channels} channels do not divide into heads; see heads, up_heads and head_width.")
        self.norm = nn.GroupNorm(c.groups, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        if c.zero_init:
            _zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """Self-attention over `[B, C, H, W]`, with the input added."""
        y = self.norm(x).flatten(2).transpose(1, 2)  # [B, H W, C]
        q, k, v = self.qkv(y).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, H W, C / heads]
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(y).transpose(1, 2).unflatten(2, x.shape[2:])


class Resample(nn.Module):
    """Half or double the sides of `[B, C, H, W]`, with a convolution or without."""

    def __init__(self, channels: int, way: str, *, conv: bool) -> None:
        super().__init__()
        self.way = way
        self.conv = Conv2d(channels, channels, 3, stride=2 if way == "down" else 1, padding=1) if conv else None

    def forward(self, x: Tensor) -> Tensor:
        """Halve or double the sides of `[B, C, H, W]`."""
        if self.conv is None:
            return _resampled(x, self.way)
        return self.conv(x if self.way == "down" else _resampled(x, "up"))


class Step(nn.Module):
    """One step of the U-Net: a residual block, attention, a change of size; each may be missing."""

    def __init__(self, block: nn.Module | None = None, attention: nn.Module | None = None, resample: nn.Module | None = None) -> None:
        super().__init__()
        self.block, self.attention, self.resample = block, attention, resample

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Transform `[B, C, H, W]` with the time's vector `[B, E]`."""
        x = x if self.block is None else self.block(x, time)
        x = x if self.attention is None else self.attention(x)
        if self.resample is None:
            return x
        return self.resample(x, time) if isinstance(self.resample, TimedResBlock) else self.resample(x)


class UNet(nn.Module):
    """Maps `[B, in_channels, H, W]` at times `[B]` to `[B, out_channels, H, W]`."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.config = c = config
        widths, last = c.widths, len(c.widths) - 1
        self.time = nn.Sequential(nn.Linear(c.width, 4 * c.width), nn.SiLU(), nn.Linear(4 * c.width, 4 * c.width))
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        now, skips, down = widths[0], [widths[0]], []
        for level, width in enumerate(widths):
            for _ in range(c.blocks):
                down.append(Step(TimedResBlock(c, now, width), self._attention(level, width, c.heads)))
                now = width
                skips.append(now)
            if level < last:
                halve = TimedResBlock(c, now, now, resample="down") if c.resample_blocks else None
                down.append(Step(halve) if halve else Step(resample=Resample(now, "down", conv=c.resample_convs)))
                skips.append(now)
        self.down = nn.ModuleList(down)
        middle = MapAttention(c, now, c.heads)
        self.middle = nn.ModuleList([Step(TimedResBlock(c, now, now), middle), Step(TimedResBlock(c, now, now))])
        up = []
        for level in reversed(range(len(widths))):
            for i in range(c.blocks + 1):
                block = TimedResBlock(c, now + skips.pop(), widths[level])
                now, double = widths[level], None
                if level and i == c.blocks:
                    blocks = c.resample_blocks
                    double = TimedResBlock(c, now, now, resample="up") if blocks else Resample(now, "up", conv=c.resample_convs)
                up.append(Step(block, self._attention(level, now, c.up_heads or c.heads), double))
        self.up = nn.ModuleList(up)
        self.norm_out, self.conv_out = nn.GroupNorm(c.groups, now), nn.Conv2d(now, out_channels, 3, padding=1)
        if c.zero_init:
            _zero(self.conv_out)

    def _attention(self, level: int, channels: int, heads: int) -> nn.Module | None:
        c = self.config
        return MapAttention(c, channels, heads) if 2**level in c.attention_strides else None

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map `[B, in_channels, H, W]` at times `[B]` to `[B, out_channels, H, W]`; H and W are multiples of `config.stride`."""
        time = self.time(time_waves(t, self.config.width).to(x))
        x = self.stem(x)
        skips = [x]
        for step in self.down:
            x = step(x, time)
            skips.append(x)
        for step in self.middle:
            x = step(x, time)
        for step in self.up:
            x = step(torch.cat([x, skips.pop()], dim=1), time)
        return self.conv_out(F.silu(self.norm_out(x)))


def _resampled(x: Tensor, way: str) -> Tensor:
    """Means of 2 x 2 positions ("down"), each position repeated 2 x 2 times ("up"), or unchanged (""); `[B, C, H, W]`."""
    if way == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="nearest") if way == "up" else x


def _zero(layer: nn.Module) -> None:
    for p in layer.parameters():
        nn.init.zeros_(p)
