"""Multi-period discriminator: the waveform is folded into rows of p samples, and convolved along each column.

Source: HiFi-GAN (Kong et al. 2020, arXiv 2010.05646, section 2.3): kernels 5x1, strides 3,3,3,3,1, channels 32 to 1024.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement
from ..losses.lengths import check_length, half_window
from .base import Discriminator, SoundConfig


@dataclass(frozen=True, kw_only=True)
class MultiPeriodConfig(SoundConfig):
    """Settings of `MultiPeriod`: one head a period, and the channels of its layers."""

    kind: ClassVar[str] = "multi_period"
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip that all periods take: the end is reflected by less than its length."""
        return half_window(max(self.periods))

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return MultiPeriod(self, self.sound(spec).channels)


class MultiPeriod(Discriminator):
    """Multi-period discriminator of waveforms `[B, C, T]`, one head for each period."""

    def __init__(self, config: MultiPeriodConfig, media_channels: int) -> None:
        super().__init__()
        self.config = config
        self.heads = nn.ModuleList(PeriodHead(p, config.channels, media_channels) for p in config.periods)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`; ValueError unless T is more than half of each period."""
        check_length(f"the discriminator {self.config.kind!r}", x.shape[-1], self.config.least_samples)
        return [head(self.config.level(x)) for head in self.heads]


class PeriodHead(nn.Module):
    """Discriminator head of one period; logits `[B, 1, rows, period]`."""

    def __init__(self, period: int, channels: tuple[int, ...], media_channels: int) -> None:
        super().__init__()
        self.period = period
        layers, before = [], media_channels
        for i, width in enumerate(channels):
            stride = 3 if i < len(channels) - 1 else 1
            layers.append(weight_norm(nn.Conv2d(before, width, (5, 1), (stride, 1), padding=(2, 0))))
            before = width
        self.layers = nn.ModuleList(layers)
        self.out = weight_norm(nn.Conv2d(before, 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor) -> Judgement:
        """Logits and features of waveforms `[B, C, T]`, whose end is reflected to fill the last row."""
        x = F.pad(x, (0, -x.shape[-1] % self.period), mode="reflect")
        x = x.unflatten(-1, (-1, self.period))  # [B, C, T / p, p]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return Judgement(self.out(x), tuple(features))
