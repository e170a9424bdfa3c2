"""Convolutions over all hidden states of a frozen speech model (WavLM): a discriminator that knows what speech is.

Sources: StyleTTS 2 (Li et al. 2023, arXiv 2306.07691, section 3.2.3), with the layers of the Low Frame-rate Speech Codec (arXiv
2409.12117; NVIDIA-NeMo/NeMo @ 8cfedd7, nemo/collections/tts/modules/audio_codec_modules.py, SLMDiscriminator).
Letters: B batch, C channels, T samples, N frames.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...codecs.layers.speech_features import FrozenModel
from ...codecs.spec import AudioSpec, TokenizerSpec
from ..losses.base import Judgement
from ..teachers.base import WaveformInput
from .base import Discriminator, SoundConfig
from .hidden import Hidden


@dataclass(frozen=True, kw_only=True)
class SpeechModelJudgeConfig(SoundConfig):
    """Settings of `SpeechModelJudge`.

    Attributes:
        model: hub id or folder of a model of transformers that takes waveforms.
        channels: after the first layer; twice and four times as many later.
        normalize: bring each clip to mean 0 and variance 1 before the model.
        rate_hz: sample rate that the model takes as input.
    """

    kind: ClassVar[str] = "speech_model"
    model: str = "microsoft/wavlm-base-plus"
    channels: int = 64
    normalize: bool = False
    rate_hz: int = 16000

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return SpeechModelJudge(self, self.sound(spec))


class SpeechModelJudge(Discriminator):
    """Discriminator of waveforms `[B, C, T]`, one head with logits `[B, 1, N]`."""

    def __init__(self, config: SpeechModelJudgeConfig, spec: AudioSpec) -> None:
        super().__init__()
        self.config = config
        self.prepare = WaveformInput(spec, config.rate_hz, normalize=config.normalize, who=config.kind)
        model = FrozenModel.pretrained(config.model).model
        self.trunk, c = Hidden(model), config.channels
        self.entry = weight_norm(nn.Conv1d((model.config.num_hidden_layers + 1) * model.config.hidden_size, c, 1))
        widths = (c, 2 * c, 4 * c, 4 * c)
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(weight_norm(nn.Conv1d(before, after, 5, padding=2)) for before, after in pairs)
        self.out = weight_norm(nn.Conv1d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge waveforms `[B, C, T]`."""
        states = self.trunk(self.prepare(self.config.level(x)), output_hidden_states=True).hidden_states  # each [B, N, D]
        y = self.entry(torch.cat([s.transpose(1, 2) for s in states], dim=1))
        features = []
        for layer in self.layers:
            y = F.leaky_relu(layer(y), 0.1)
            features.append(y)
        return [Judgement(self.out(y), tuple(features))]
