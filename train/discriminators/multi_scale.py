"""Multi-scale discriminator: grouped convolutions over the waveform at full, half and quarter rate.

Sources: MelGAN (Kumar et al. 2019, arXiv 1910.06711), with HiFi-GAN's layers (arXiv 2010.05646, section 2.3); used by
SpeechTokenizer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement
from ..losses.lengths import check_length
from .base import Discriminator, SoundConfig

# (channels as a multiple of the first layer's, kernel, stride, groups)
_LAYERS = ((1, 15, 1, 1), (1, 41, 2, 4), (2, 41, 2, 16), (4, 41, 4, 16), (8, 41, 4, 16), (8, 41, 1, 16), (8, 5, 1, 1))


@dataclass(frozen=True, kw_only=True)
class MultiScaleConfig(SoundConfig):
    """Settings of `MultiScale`.

    Attributes:
        halvings: how often the rate is halved: one head each, and one at full rate.
        channels: of the first layer.
        spectral_first: the head at full rate has spectral norms, as in HiFi-GAN; the others have weight norms.
    """

    kind: ClassVar[str] = "multi_scale"
    halvings: int = 2
    channels: int = 128
    spectral_first: bool = False

    def __post_init__(self) -> None:
        if self.channels % 16:
            raise ConfigError(f"multi_scale.channels is {self.channels}; it must be a multiple of 16 (grouped layers).")

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return MultiScale(self, self.sound(spec).channels)


class MultiScale(Discriminator):
    """Multi-scale discriminator of waveforms `[B, C, T]`, one head for each sample rate."""

    def __init__(self, config: MultiScaleConfig, media_channels: int) -> None:
        super().__init__()
        self.config = config
        norms = [spectral_norm if config.spectral_first and not i else weight_norm for i in range(config.halvings + 1)]
        self.heads = nn.ModuleList(ScaleHead(config, media_channels, norm) for norm in norms)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`, of any length but 0."""
        check_length("the discriminator 'multi_scale'", x.shape[-1], 1)
        out, x = [], self.config.level(x)
        for i, head in enumerate(self.heads):
            x = F.avg_pool1d(x, 4, 2, padding=2) if i else x
            out.append(head(x))
        return out


class ScaleHead(nn.Module):
    """Discriminator head of one sample rate; logits `[B, 1, T / 64]`, T at this rate."""

    def __init__(self, config: MultiScaleConfig, media_channels: int, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        layers, before = [], media_channels
        for factor, kernel, stride, groups in _LAYERS:
            width = config.channels * factor
            conv = nn.Conv1d(before, width, kernel, stride, padding=kernel // 2, groups=groups)
            layers.append(norm(conv))
            before = width
        self.layers = nn.ModuleList(layers)
        self.out = norm(nn.Conv1d(before, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Judgement:
        """Logits and features of waveforms `[B, C, T]`."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return Judgement(self.out(x), tuple(features))
