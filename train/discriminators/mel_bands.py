"""Discriminator of spectrograms in bands: convolutions of their own over each band, and a last one over all of them.

Source: Kanade (frothywater/kanade-tokenizer @ 8e17729, module/discriminator.py), after Vocos' discriminator (arXiv 2306.00814).
Letters: B batch, M mel bands, N frames, C channels.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...codecs.config import ConfigError
from ...codecs.members import members
from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement
from ..losses.lengths import check_length, half_window
from ..teachers.base import Teacher
from ..teachers.mel import MelTeacherConfig
from .base import Discriminator, SoundConfig


@dataclass(frozen=True, kw_only=True)
class MelBandsConfig(SoundConfig):
    """Settings of `MelBands`.

    Attributes:
        bands: where each band begins and ends, as shares of the spectrogram's height.
        channels: C.
        kernel: of all convolutions, over time and over mel bands; odd.
        dilations: over time, of the convolutions between the first and the last of a band.
        halve: average logits over windows of 4 x 4 with a step of 2.
        spectrogram: of media and reconstructions, which are waveforms. With `of`, two spectrograms `[B, M, N]` are judged as they are.
    """

    kind: ClassVar[str] = "mel_bands"
    bands: tuple[tuple[float, float], ...] = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
    channels: int = 64
    kernel: int = 3
    dilations: tuple[int, ...] = (1, 1, 1)
    halve: bool = True
    spectrogram: MelTeacherConfig = MelTeacherConfig()

    def __post_init__(self) -> None:
        if not self.bands or any(not 0 <= low < high <= 1 for low, high in self.bands):
            raise ConfigError(f"mel_bands.bands is {self.bands}; each begins below its end, within 0 to 1.")
        if self.channels < 1 or self.kernel < 1 or not self.kernel % 2 or min(self.dilations, default=1) < 1:
            raise ConfigError(
                f"mel_bands: channels is {self.channels}, kernel {self.kernel}, dilations {self.dilations}; need an odd kernel, and "
                "the others at least 1."
            )

    @property
    def least_samples(self) -> int:
        """The shortest clip that can be judged, in samples; 0 for spectrograms that are judged as they are."""
        return 0 if self.of else half_window(self.spectrogram.window)

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return MelBands(self, self.spectrogram.build(self.sound(spec)))


class MelBands(Discriminator):
    """One head over the bands of a log-mel spectrogram; settings: `MelBandsConfig`."""

    def __init__(self, config: MelBandsConfig, spectrogram: Teacher) -> None:
        super().__init__()
        c = self.config = config
        self.spectrogram = spectrogram
        self.stacks = nn.ModuleList(
            nn.ModuleList([_conv(1, c), *(_conv(c.channels, c, d) for d in c.dilations), _conv(c.channels, c)]) for _ in c.bands
        )
        self.out = _conv(c.channels, c, to=1)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]` or, with `of`, spectrograms `[B, M, N]`.

        Raises:
            ValueError: a clip too short for a window; a band without a row of the spectrogram.
        """
        if not self.config.of:
            check_length(f"the discriminator {self.config.kind!r}", x.shape[-1], self.config.least_samples)
        x = x if self.config.of else self.spectrogram.targets(self.config.level(x))
        x = x[:, None].transpose(2, 3)  # [B, 1, N, M]
        outs, features = [], []
        for (low, high), stack in zip(self.config.bands, members(self.stacks, nn.ModuleList), strict=True):
            band = x[..., int(low * x.shape[3]) : int(high * x.shape[3])]
            if not band.shape[3]:
                raise ValueError(
                    f"a spectrogram of {x.shape[3]} rows has none between {low} and {high} of its height; take wider bands."
                )
            for layer in stack:
                band = F.leaky_relu(layer(band), 0.1)
                features.append(band)
            outs.append(band)
        logits = self.out(torch.cat(outs, dim=3))  # [B, 1, N, M']
        if self.config.halve:
            logits = F.avg_pool2d(logits, 4, stride=2, padding=1, count_include_pad=False)
        return [Judgement(logits, tuple(features))]


def _conv(channels: int, config: MelBandsConfig, dilation: int = 1, *, to: int = 0) -> nn.Module:
    half = config.kernel // 2
    conv = nn.Conv2d(channels, to or config.channels, config.kernel, dilation=(dilation, 1), padding=(half * dilation, half))
    return weight_norm(conv)
