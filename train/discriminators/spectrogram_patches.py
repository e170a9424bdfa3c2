"""PatchGAN over spectrograms: square convolutions of stride 2 in frequency and time, at several window lengths.

Source: BigCodec (arXiv 2409.05377; Aria-K-Alethia/BigCodec @ 09845ab, module/mstft.py); X-codec2 (arXiv 2502.04128) uses the same.
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


@dataclass(frozen=True, kw_only=True)
class SpectrogramPatchesConfig(SoundConfig):
    """Settings of `SpectrogramPatches`.

    Attributes:
        windows: Hann window and FFT lengths, one head each.
        hop_ratio: hop as a share of the window (BigCodec a quarter, X-codec2 a half).
        channels: after the first layer; doubled at each, up to `most`.
        most: channels of the widest layers.
        halvings: layers of stride 2 after the first, which has it too.
    """

    kind: ClassVar[str] = "spectrogram_patches"
    windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    hop_ratio: float = 0.25
    channels: int = 32
    most: int = 512
    halvings: int = 3

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip that all windows take."""
        return half_window(max(self.windows))

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return SpectrogramPatches(self, self.sound(spec).channels)


class SpectrogramPatches(Discriminator):
    """Spectrogram discriminator of waveforms `[B, C, T]`, one head for each window length."""

    def __init__(self, config: SpectrogramPatchesConfig, media_channels: int) -> None:
        super().__init__()
        self.config = config
        self.heads = nn.ModuleList(PatchHead(config, w, media_channels) for w in config.windows)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`; ValueError unless T is more than half of each window."""
        check_length(f"the discriminator {self.config.kind!r}", x.shape[-1], self.config.least_samples)
        return [head(self.config.level(x)) for head in self.heads]


class PatchHead(nn.Module):
    """Head of one window length; logits `[B, 1, F / 16, N / 16]` with three halvings."""

    def __init__(self, config: SpectrogramPatchesConfig, length: int, media_channels: int) -> None:
        super().__init__()
        self.spectrum = Magnitudes(length, max(1, int(length * config.hop_ratio)), bounds=(1e-7, 1e3))
        widths = [min(config.channels * 2**i, config.most) for i in range(config.halvings + 2)]
        layers, before = [], media_channels
        for i, width in enumerate(widths):
            kernel, stride = (5, 2) if i <= config.halvings else (3, 1)
            layers.append(weight_norm(nn.Conv2d(before, width, kernel, stride, kernel // 2)))
            before = width
        self.layers = nn.ModuleList(layers)
        self.out = weight_norm(nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Judgement:
        """Logits and features of waveforms `[B, C, T]`."""
        x = self.spectrum(x)  # [B, C, F, N]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return Judgement(self.out(x), tuple(features))
