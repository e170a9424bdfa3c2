"""Encoder and decoder of VidTok, and their settings. Levels are numbered from fine (0) to coarse in both.

Letters: B batch, C channels of a level, D width of the latents, T frames and H W pixels of a clip, t h w its grid.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from .blocks import ChannelNorm, ClipConv, FrameAttention, Kind, ResBlock, SpaceConv, SpaceUp, TimeConv, TimeDown, TimeUp


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Settings of encoder and decoder; the defaults are those of the published causal 4x8x8.

    Attributes:
        widths: C of each level, fine to coarse; height and width are halved between levels.
        stem_width: channels of the encoder's first layer.
        blocks: pairs of residual blocks (space, time) at each level of the encoder; the decoder has one pair more.
        latent_dim: D, channels of the encoder's last layer and of the decoder's first.
        time_down: levels after which the encoder halves the frames too; never the last.
        time_up: levels after which the decoder doubles the frames too, as many; never level 0.
        kind: what convolutions see beside a clip, and which lengths fit, see `blocks.py` and `model.py`.
        interpolate: `causal_v1_1` only: frames are doubled by interpolation, not by repetition.
        dropout: dropout probability inside residual blocks, in training.
    """

    widths: tuple[int, ...] = (128, 256, 512, 512)
    stem_width: int = 128
    blocks: int = 2
    latent_dim: int = 5
    time_down: tuple[int, ...] = (1, 2)
    time_up: tuple[int, ...] = (1, 2)
    kind: Kind = "causal"
    interpolate: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        last = len(self.widths) - 1
        for name, low, high in (("time_down", 0, last - 1), ("time_up", 1, last)):
            levels = getattr(self, name)
            if len(set(levels)) < len(levels) or any(not low <= level <= high for level in levels):
                raise ConfigError(f"{name} is {levels}; with {last + 1} widths, levels {low} to {high} are allowed, each once.")
        if len(self.time_down) != len(self.time_up):
            raise ConfigError(f"time_down is {self.time_down} and time_up {self.time_up}; they must be as many levels.")
        if self.interpolate and self.kind != "causal_v1_1":
            raise ConfigError(f"interpolate belongs to kind 'causal_v1_1', not {self.kind!r}; set it to false.")

    @property
    def space_factor(self) -> int:
        """Pixels from one id to the next."""
        return 2 ** (len(self.widths) - 1)

    @property
    def time_factor(self) -> int:
        """Frames from one step to the next."""
        return 2 ** len(self.time_down)


class Level(nn.Module):
    """Pairs of residual blocks over space and over time, and a change of resolution of space and of time."""

    def __init__(self, channels: list[int], settings: Networks, *, space: nn.Module | None, time: nn.Module | None) -> None:
        super().__init__()
        s, pairs, over_time = settings, list(pairwise(channels)), partial(TimeConv, kind=settings.kind)
        self.over_space = nn.ModuleList(ResBlock(SpaceConv, a, b, s.dropout) for a, b in pairs)
        self.over_time = nn.ModuleList(ResBlock(over_time, b, b, s.dropout) for _, b in pairs)
        self.space, self.time = space, time

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, T, h, w]`."""
        for space, time in zip(self.over_space, self.over_time, strict=True):
            x = time(space(x))
        x = x if self.space is None else self.space(x)
        return x if self.time is None else self.time(x)


class Middle(nn.Module):
    """Residual block, attention within frames, residual block at the coarsest grid; `[B, C, t, h, w]`."""

    def __init__(self, channels: int, settings: Networks) -> None:
        super().__init__()
        conv = partial(ClipConv, kind=settings.kind)
        self.first, self.last = (ResBlock(conv, channels, channels, settings.dropout) for _ in range(2))
        self.attention = FrameAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, t, h, w]`."""
        return self.last(self.attention(self.first(x)))


class ClipEncoder(nn.Module):
    """Clips `[B, 3, T, H, W]`, T a multiple of `time_factor`, to latents `[B, D, t, h, w]`."""

    def __init__(self, settings: Networks) -> None:
        super().__init__()
        s, before = settings, settings.stem_width
        self.stem = ClipConv(3, before, kind=s.kind)
        self.levels = nn.ModuleList()
        for i, width in enumerate(s.widths):
            space = SpaceConv(width, width, stride=2) if i < len(s.widths) - 1 else None
            time = TimeDown(width, kind=s.kind) if i in s.time_down else None
            self.levels.append(Level([before, *[width] * s.blocks], s, space=space, time=time))
            before = width
        self.middle = Middle(before, s)
        self.norm_out, self.head = ChannelNorm(before), ClipConv(before, s.latent_dim, kind=s.kind)

    def forward(self, x: Tensor) -> Tensor:
        """Encode `[B, 3, T, H, W]`."""
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
        return self.head(F.silu(self.norm_out(self.middle(x))))


class ClipDecoder(nn.Module):
    """Latents `[B, D, t, h, w]` to clips `[B, 3, t time_factor, H, W]`."""

    def __init__(self, settings: Networks) -> None:
        super().__init__()
        s, before, alone = settings, settings.widths[-1], 1
        self.stem, self.middle = ClipConv(s.latent_dim, before, kind=s.kind), Middle(before, s)
        levels: list[nn.Module] = []
        for i, width in reversed(list(enumerate(s.widths))):
            space, time = SpaceUp(width) if i else None, None
            if i in s.time_up:
                time, alone = TimeUp(width, kind=s.kind, alone=alone if s.interpolate else None), 2 * alone
            levels.append(Level([before, *[width] * (s.blocks + 1)], s, space=space, time=time))
            before = width
        self.levels = nn.ModuleList(levels[::-1])
        self.norm_out, self.head = ChannelNorm(before), ClipConv(before, 3, kind=s.kind)

    def forward(self, x: Tensor) -> Tensor:
        """Decode `[B, D, t, h, w]`."""
        x = self.middle(self.stem(x))
        for level in reversed(self.levels):
            x = level(x)
        return self.head(F.silu(self.norm_out(x)))
