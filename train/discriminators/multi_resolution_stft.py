"""Multi-band multi-resolution complex STFT discriminator.

Source: DAC (Kumar et al. 2023, arXiv 2306.06546, section 3.3): real and imaginary parts as two channels, five bands
each with its own convolutions, joined along frequency; windows 2048, 1024, 512 with a hop of a quarter.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...codecs.members import members
from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement
from ..losses.lengths import check_length, half_window
from .base import Discriminator, SoundConfig
from .spectra import ComplexSpectrogram


@dataclass(frozen=True, kw_only=True)
class MultiResolutionStftConfig(SoundConfig):
    """Settings of `MultiResolutionStft`.

    Attributes:
        windows: Hann window and FFT lengths, one head each.
        hop_ratio: hop as a share of the window.
        bands: inner edges of the bands, as shares of all frequencies.
        channels: of every hidden layer.
    """

    kind: ClassVar[str] = "multi_resolution_stft"
    windows: tuple[int, ...] = (2048, 1024, 512)
    hop_ratio: float = 0.25
    bands: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75)
    channels: int = 32

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip that all windows take."""
        return half_window(max(self.windows))

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return MultiResolutionStft(self, self.sound(spec).channels)


class MultiResolutionStft(Discriminator):
    """Multi-resolution STFT discriminator of waveforms `[B, C, T]`, one head for each window length."""

    def __init__(self, config: MultiResolutionStftConfig, media_channels: int) -> None:
        super().__init__()
        self.config = config
        self.heads = nn.ModuleList(BandedHead(config, w, media_channels) for w in config.windows)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`; ValueError unless T is more than half of each window, as edges are reflected by half of it."""
        check_length(f"the discriminator {self.config.kind!r}", x.shape[-1], self.config.least_samples)
        return [head(self.config.level(x)) for head in self.heads]


class BandedHead(nn.Module):
    """Discriminator head of one window length; logits `[B, 1, frames, F']`, F' the bands' frequencies after 3 strides of 2."""

    def __init__(self, config: MultiResolutionStftConfig, length: int, media_channels: int) -> None:
        super().__init__()
        self.spectrum = ComplexSpectrogram(length, max(1, int(length * config.hop_ratio)), normalized=False)
        bins, c = length // 2 + 1, config.channels
        edges = [0, *(int(share * bins) for share in config.bands), bins]
        self.bands = list(itertools.pairwise(edges))

        def convolutions() -> nn.ModuleList:
            first = [weight_norm(nn.Conv2d(2 * media_channels, c, (3, 9), padding=(1, 4)))]
            middle = [weight_norm(nn.Conv2d(c, c, (3, 9), stride=(1, 2), padding=(1, 4))) for _ in range(3)]
            return nn.ModuleList([*first, *middle, weight_norm(nn.Conv2d(c, c, (3, 3), padding=1))])

        self.stacks = nn.ModuleList(convolutions() for _ in self.bands)
        self.out = weight_norm(nn.Conv2d(c, 1, (3, 3), padding=1))

    def forward(self, x: Tensor) -> Judgement:
        """Logits and features of waveforms `[B, C, T]`."""
        spec = self.spectrum(x)  # [B, 2C, N, F]
        ends, features = [], []
        for (low, high), stack in zip(self.bands, members(self.stacks, nn.ModuleList), strict=True):
            band = spec[..., low:high]
            for layer in stack:
                band = F.leaky_relu(layer(band), 0.1)
                features.append(band)
            ends.append(band)
        return Judgement(self.out(torch.cat(ends, dim=-1)), tuple(features))
