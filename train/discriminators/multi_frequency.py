"""Multi-frequency discriminator: magnitudes and decibels in mel bands, at several window lengths, under square convolutions.

Source: X-codec (arXiv 2408.17175; zhenye234/xcodec @ a2e52d3, modules/discriminators/frequency_discriminator.py and
modules/commons/torch_stft.py, with its `domain: double` and `mel_scale: true`).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...codecs.config import ConfigError
from ...codecs.spec import AudioSpec, TokenizerSpec
from ..losses.base import Judgement
from ..losses.lengths import check_length, half_window
from ..losses.mel import mel_filters
from .base import Discriminator, SoundConfig
from .spectra import Magnitudes

_LEAST_DB, _REFERENCE_DB = -100.0, 20.0


@dataclass(frozen=True, kw_only=True)
class MultiFrequencyConfig(SoundConfig):
    """Settings of `MultiFrequency`.

    Attributes:
        hops: of the spectra in samples, one head each; windows are four times as long.
        channels: of the widest layer of each head, multiples of 32; the layers before double from a 32nd of it.
        mel: as many mel bands as there are frequencies (O'Shaughnessy's scale); False: the frequencies themselves.
    """

    kind: ClassVar[str] = "multi_frequency"
    hops: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    mel: bool = True

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.hops) or any(c < 32 or c % 32 for c in self.channels):
            raise ConfigError(
                f"multi_frequency.channels is {list(self.channels)} for {len(self.hops)} hops; each needs one multiple of 32."
            )

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip of which all heads have two frames left after their three halvings."""
        return max(half_window(4 * max(self.hops)), 8 * max(self.hops))

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return MultiFrequency(self, self.sound(spec))


class MultiFrequency(Discriminator):
    """Multi-frequency discriminator of waveforms `[B, C, T]`, one head for each hop."""

    def __init__(self, config: MultiFrequencyConfig, spec: AudioSpec) -> None:
        super().__init__()
        self.config = config
        pairs = zip(config.hops, config.channels, strict=True)
        self.heads = nn.ModuleList(FrequencyHead(config, hop, width, spec) for hop, width in pairs)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`; ValueError unless T is at least 8 times the longest hop."""
        check_length(f"the discriminator {self.config.kind!r}", x.shape[-1], self.config.least_samples)
        return [head(self.config.level(x)) for head in self.heads]


class FrequencyHead(nn.Module):
    """Head of one hop; logits `[B, 1, F / 8, N / 8]`. Its features are the layers' outputs before their activations."""

    bands: Tensor | None

    def __init__(self, config: MultiFrequencyConfig, hop: int, width: int, spec: AudioSpec) -> None:
        super().__init__()
        self.spectrum = Magnitudes(4 * hop, hop, normalized=True, bounds=(1e-7, None))
        self.register_buffer("bands", _bands(2 * hop + 1, spec.sample_rate_hz) if config.mel else None, persistent=False)
        widths = [width // 2**i for i in range(5, -1, -1)]
        layers, before = [], 2 * spec.channels
        for i, after in enumerate([*widths, 1]):
            conv = nn.Conv2d(before, after, 3, 2 if i % 2 and after > 1 else 1, 1, padding_mode="reflect")
            layers.append(weight_norm(conv))
            before = after
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Judgement:
        """Logits and features of waveforms `[B, C, T]`."""
        x = self.spectrum(x)  # [B, C, F, N]
        if self.bands is not None:
            x = torch.einsum("bcfn,fm->bcmn", x, self.bands)
        decibels = 20 * x.log10() - _REFERENCE_DB
        x = torch.cat([x, ((decibels - _LEAST_DB) / -_LEAST_DB).clamp(0, 1)], dim=1)  # [B, 2C, F, N]
        features = []
        for i, layer in enumerate(self.layers):
            x = layer(nn.functional.leaky_relu(x, 0.2) if i else x)
            features.append(x)
        return Judgement(features[-1], tuple(features[:-1]))


def _bands(frequencies: int, rate_hz: int) -> Tensor:
    """Triangles `[F, F]` that turn magnitudes at all frequencies into as many mel bands; nowhere below 1e-6, as in the source."""
    return mel_filters(frequencies, frequencies, rate_hz, 0.0, rate_hz / 2, "htk").clamp(1e-6, 1)
