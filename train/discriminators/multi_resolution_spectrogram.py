"""Multi-resolution spectrogram discriminator: convolutions over magnitudes at several window lengths.

Source: UnivNet (Jang et al. 2021, arXiv 2106.07889, section 2.2), with the layers of Vocos (arXiv 2306.00814), which WavTokenizer
(arXiv 2408.16532; jishengpeng/WavTokenizer @ 5cf440d, decoder/discriminators.py) uses too.
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
from .spectra import Magnitudes

# (kernel, stride) over frequency and time
_LAYERS = (((7, 5), (2, 2)), ((5, 3), (2, 1)), ((5, 3), (2, 2)), ((3, 3), (2, 1)), ((3, 3), (2, 2)))


@dataclass(frozen=True, kw_only=True)
class MultiResolutionSpectrogramConfig(SoundConfig):
    """Settings of `MultiResolutionSpectrogram`: window and FFT lengths, one head each, with hops of a quarter; channels."""

    kind: ClassVar[str] = "multi_resolution_spectrogram"
    windows: tuple[int, ...] = (1024, 2048, 512)
    channels: int = 64

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip that all windows take."""
        return half_window(max(self.windows))

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return MultiResolutionSpectrogram(self, self.sound(spec).channels)


class MultiResolutionSpectrogram(Discriminator):
    """Spectrogram discriminator of waveforms `[B, C, T]`, one head for each window length."""

    def __init__(self, config: MultiResolutionSpectrogramConfig, media_channels: int) -> None:
        super().__init__()
        self.config = config
        self.heads = nn.ModuleList(MagnitudeHead(w, config.channels, media_channels) for w in config.windows)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`; ValueError unless T is more than half of each window."""
        check_length(f"the discriminator {self.config.kind!r}", x.shape[-1], self.config.least_samples)
        return [head(self.config.level(x)) for head in self.heads]


class MagnitudeHead(nn.Module):
    """Head of one window length, a box as in the source; logits `[B, 1, F / 32, N / 8]`."""

    def __init__(self, length: int, channels: int, media_channels: int) -> None:
        super().__init__()
        self.spectrum = Magnitudes(length, length // 4, window="box")
        layers, before = [], media_channels
        for kernel, stride in _LAYERS:
            padding = (kernel[0] // 2, kernel[1] // 2)
            layers.append(weight_norm(nn.Conv2d(before, channels, kernel, stride, padding)))
            before = channels
        self.layers = nn.ModuleList(layers)
        self.out = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Judgement:
        """Logits and features of waveforms `[B, C, T]`."""
        x = self.spectrum(x)  # [B, C, F, N]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return Judgement(self.out(x), tuple(features))
