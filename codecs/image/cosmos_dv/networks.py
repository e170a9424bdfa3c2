"""Encoder and decoder of Cosmos DV, and their settings. Levels are numbered from fine (0) to coarse in both.

Letters: B batch, C channels of a level, D width of the latents, T frames and H W pixels of a clip, t h w its grid.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from .blocks import Downsample3d, FactorConv, FrameNorm, HaarPatches3d, ResBlock3d, SpaceTimeAttention, Upsample3d


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Settings of encoder and decoder; the defaults are those of the published 8x16x16.

    Attributes:
        widths: C of each level, fine to coarse.
        stem_width: channels of the encoder's first layer.
        blocks: residual blocks at each level of the encoder; the decoder has one more.
        attention_levels: levels where attention follows each residual block.
        latent_dim: D, channels of the encoder's last layer and of the decoder's first.
        patch_size: pixels and frames along each axis of a Haar patch, a power of two.
        space_factor, time_factor: pixels and frames from one id to the next, powers of two, at least `patch_size`.
        early_upsampling: the decoder doubles the frames at its coarsest levels; otherwise not at the very first.
        dropout: dropout probability inside residual blocks, in training.
    """

    widths: tuple[int, ...] = (256, 512, 512)
    stem_width: int = 128
    blocks: int = 2
    attention_levels: tuple[int, ...] = ()
    latent_dim: int = 16
    patch_size: int = 4
    space_factor: int = 16
    time_factor: int = 8
    early_upsampling: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("patch_size", "space_factor", "time_factor"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ConfigError(f"{name} is {value}; it must be a power of two.")
        for name, axis in (("space_factor", 0), ("time_factor", 1)):
            value, most = getattr(self, name), self.patch_size * 2 ** (len(self.widths) - 1)
            if not self.patch_size <= value <= most:
                raise ConfigError(f"{name} is {value}; allowed with this patch_size and these widths: {self.patch_size} to {most}.")
            down, up = ([step[axis] for step in steps].count(True) for steps in (self.down_steps(), self.up_steps()))
            if down != up:
                raise ConfigError(
                    f"with space_factor {self.space_factor}, time_factor {self.time_factor} and {len(self.widths)} widths the encoder "
                    f"halves {name[:-7]} {down} times and the decoder doubles it {up} times; change one of them."
                )
        if any(not 0 <= level < len(self.widths) for level in self.attention_levels):
            raise ConfigError(f"attention_levels is {self.attention_levels}; there are the levels 0 to {len(self.widths) - 1}.")

    def _counts(self) -> tuple[int, int]:
        """How often space and time are halved after the patches."""
        bits = self.patch_size.bit_length()
        return self.space_factor.bit_length() - bits, self.time_factor.bit_length() - bits

    def down_steps(self) -> list[tuple[bool, bool]]:
        """Whether the encoder halves (space, time) after each level; it does nothing after the last."""
        space, time = self._counts()
        last = len(self.widths) - 1
        return [(i < space and i < last, i < time and i < last) for i in range(len(self.widths))]

    def up_steps(self) -> list[tuple[bool, bool]]:
        """Whether the decoder doubles (space, time) after each level; it does nothing after level 0."""
        (space, time), steps = self._counts(), [(False, False)]
        for level in range(1, len(self.widths)):
            done = len(self.widths) - 1 - level  # levels before this one
            doubles = done < time if self.early_upsampling else 0 < done <= time
            steps.append((doubles or (done < space and space > time), doubles))
        return steps


class Level(nn.Module):
    """Residual blocks, each with its attention where the level has any, and a change of resolution."""

    def __init__(self, channels: list[int], settings: Networks, *, attention: bool, resample: nn.Module | None) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.blocks = nn.ModuleList(ResBlock3d(a, b, settings.dropout) for a, b in pairs)
        self.attention = nn.ModuleList(SpaceTimeAttention(b) for _, b in pairs) if attention else None
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, T, h, w]`."""
        for i, block in enumerate(self.blocks):
            x = block(x)
            x = x if self.attention is None else self.attention[i](x)
        return x if self.resample is None else self.resample(x)


class Middle(nn.Module):
    """Residual block, attention, residual block at the coarsest grid; `[B, C, t, h, w]`."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.first, self.last = ResBlock3d(channels, channels, dropout), ResBlock3d(channels, channels, dropout)
        self.attention = SpaceTimeAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, t, h, w]`."""
        return self.last(self.attention(self.first(x)))


class ClipEncoder(nn.Module):
    """Clips `[B, 3, T, H, W]`, T = 1 + k `time_factor`, to latents `[B, D, t, h, w]`."""

    def __init__(self, settings: Networks) -> None:
        super().__init__()
        s, before = settings, settings.stem_width
        self.patches = HaarPatches3d(s.patch_size)
        self.stem = FactorConv(3 * s.patch_size**3, before)
        self.levels = nn.ModuleList()
        for i, (width, (space, time)) in enumerate(zip(s.widths, s.down_steps(), strict=True)):
            resample = Downsample3d(width, space=space, time=time) if space or time else None
            self.levels.append(Level([before, *[width] * s.blocks], s, attention=i in s.attention_levels, resample=resample))
            before = width
        self.middle = Middle(before, s.dropout)
        self.norm_out, self.head = FrameNorm(before), FactorConv(before, s.latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Encode `[B, 3, T, H, W]`."""
        x = self.stem(self.patches(x))
        for level in self.levels:
            x = level(x)
        return self.head(F.silu(self.norm_out(self.middle(x))))


class ClipDecoder(nn.Module):
    """Latents `[B, D, t, h, w]` to clips `[B, 3, T, H, W]`."""

    def __init__(self, settings: Networks) -> None:
        super().__init__()
        s, before = settings, settings.widths[-1]
        self.patches = HaarPatches3d(s.patch_size)
        self.stem, self.middle = FactorConv(s.latent_dim, before), Middle(before, s.dropout)
        levels: list[nn.Module] = []
        for i, (width, (space, time)) in reversed(list(enumerate(zip(s.widths, s.up_steps(), strict=True)))):
            resample = Upsample3d(width, space=space, time=time) if space or time else None
            levels.append(Level([before, *[width] * (s.blocks + 1)], s, attention=i in s.attention_levels, resample=resample))
            before = width
        self.levels = nn.ModuleList(levels[::-1])
        self.norm_out, self.head = FrameNorm(before), FactorConv(before, 3 * s.patch_size**3)

    def forward(self, x: Tensor) -> Tensor:
        """Decode `[B, D, t, h, w]`."""
        x = self.middle(self.stem(x))
        for level in reversed(self.levels):
            x = level(x)
        return self.patches.inverse(self.head(F.silu(self.norm_out(x))))
