"""Multi-scale discriminator: grouped convolutions over the waveform at full, half and quarter rate.

Sources: MelGAN (Kumar et al. 2019, arXiv 1910.06711), with HiFi-GAN's layers (arXiv 2010.05646, section 2.3); used by
SpeechTokenizer.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...codecs.config import ConfigError
from ...codecs.spec import AudioSpec, TokenizerSpec
from ..losses.base import Judgement
from ..losses.lengths import check_length
from .base import Discriminator, DiscriminatorConfig

# (channels as a multiple of the first layer's, kernel, stride, groups)
_LAYERS = ((1, 15, 1, 1), (1, 41, 2, 4), (2, 41, 2, 16), (4, 41, 4, 16), (8, 41, 4, 16), (8, 41, 1, 16), (8, 5, 1, 1))


@dataclass(frozen=True, kw_only=True)
class MultiScaleConfig(DiscriminatorConfig):
    """Settings of `MultiScale`: how often the rate is halved (one head each, and one at full rate), first channels."""

    kind: ClassVar[str] = "multi_scale"
    halvings: int = 2
    channels: int = 128

    def __post_init__(self) -> None:
        if self.channels % 16:
            raise ConfigError(f"multi_scale.channels is {self.channels}; it must be a multiple of 16 (grouped layers).")

    def build(self, spec: TokenizerSpec) -> Discriminator:
        if not isinstance(spec, AudioSpec):
            raise ConfigError(f"the discriminator {self.kind!r} judges sound, not media of modality {spec.modality!r}.")
        return MultiScale(self, spec.channels)


class MultiScale(Discriminator):
    """Multi-scale discriminator of waveforms `[B, C, T]`, one head for each sample rate."""

    def __init__(self, config: MultiScaleConfig, media_channels: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(ScaleHead(config, media_channels) for _ in range(config.halvings + 1))

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`, of any length but 0."""
        check_length("the discriminator 'multi_scale'", x.shape[-1], 1)
        out = []
        for i, head in enumerate(self.heads):
            x = F.avg_pool1d(x, 4, 2, padding=2) if i else x
            out.append(head(x))
        return out


class ScaleHead(nn.Module):
    """Discriminator head of one sample rate; logits `[B, 1, T / 64]`, T at this rate."""

    def __init__(self, config: MultiScaleConfig, media_channels: int) -> None:
        super().__init__()
        layers, before = [], media_channels
        for factor, kernel, stride, groups in _LAYERS:
            width = config.channels * factor
            conv = nn.Conv1d(before, width, kernel, stride, padding=kernel // 2, groups=groups)
            layers.append(weight_norm(conv))
            before = width
        self.layers = nn.ModuleList(layers)
        self.out = weight_norm(nn.Conv1d(before, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Judgement:
        """Logits and features of waveforms `[B, C, T]`."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return Judgement(self.out(x), tuple(features))
