"""Multi-scale STFT discriminator over whole complex spectra, with layers dilated in time.

Source: EnCodec (Défossez et al. 2022, arXiv 2210.13438, section 3.4): windows 2048 to 128 with a hop of a
quarter, kernels 3x8, dilations 1, 2, 4 in time, stride 2 over frequency, 32 channels.
Differs: kernels are 3x9, as in the authors' released code.
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
from .spectra import ComplexSpectrogram


@dataclass(frozen=True, kw_only=True)
class MultiScaleStftConfig(SoundConfig):
    """Settings of `MultiScaleStftDiscriminator`.

    Attributes:
        windows: Hann window and FFT lengths, one head each.
        channels: of every layer.
        dilations: in time, of one layer each.
        slope: of the leaky ReLU below zero (audiocraft: 0.3).
    """

    kind: ClassVar[str] = "multi_scale_stft"
    windows: tuple[int, ...] = (1024, 2048, 512, 256, 128)
    channels: int = 32
    dilations: tuple[int, ...] = (1, 2, 4)
    slope: float = 0.2

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip that all windows take."""
        return half_window(max(self.windows))

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return MultiScaleStftDiscriminator(self, self.sound(spec).channels)


class MultiScaleStftDiscriminator(Discriminator):
    """Multi-scale STFT discriminator of waveforms `[B, C, T]`, one head for each window length."""

    def __init__(self, config: MultiScaleStftConfig, media_channels: int) -> None:
        super().__init__()
        self.config = config
        self.heads = nn.ModuleList(SpectralHead(config, w, media_channels) for w in config.windows)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`; ValueError unless T is more than half of each window, as edges are reflected by half of it."""
        check_length(f"the discriminator {self.config.kind!r}", x.shape[-1], self.config.least_samples)
        return [head(self.config.level(x)) for head in self.heads]


class SpectralHead(nn.Module):
    """Discriminator head of one window length; logits `[B, 1, frames, F']`, F' frequencies after one stride of 2 for each dilation.

    Differs: clips are reflected at the edges; EnCodec leaves out frames that go beyond them. Here every sample is in a frame.
    """

    def __init__(self, config: MultiScaleStftConfig, length: int, media_channels: int) -> None:
        super().__init__()
        self.spectrum = ComplexSpectrogram(length, length // 4, normalized=True)
        self.slope, c = config.slope, config.channels
        layers = [weight_norm(nn.Conv2d(2 * media_channels, c, (3, 9), padding=(1, 4)))]
        for d in config.dilations:
            layers.append(weight_norm(nn.Conv2d(c, c, (3, 9), stride=(1, 2), dilation=(d, 1), padding=(d, 4))))
        layers.append(weight_norm(nn.Conv2d(c, c, (3, 3), padding=1)))
        self.layers = nn.ModuleList(layers)
        self.out = weight_norm(nn.Conv2d(c, 1, (3, 3), padding=1))

    def forward(self, x: Tensor) -> Judgement:
        """Logits and features of waveforms `[B, C, T]`."""
        x = self.spectrum(x)  # [B, 2C, N, F]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), self.slope)
            features.append(x)
        return Judgement(self.out(x), tuple(features))
