"""Hidden states of a self-supervised speech model: HuBERT, WavLM, wav2vec 2.0, data2vec and others that take waveforms; w2v-BERT 2.0.

Sources: SpeechTokenizer (arXiv 2308.16692: HuBERT-base, mean over all layers), Mimi (arXiv 2410.00037: WavLM-large),
X-codec (arXiv 2408.17175: half a step of silence on both sides), FuseCodec (arXiv 2509.11425: mean over time).
Letters: B batch, T samples, N frames, D width of the model.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...codecs.config import ConfigError, SignedInt
from ...codecs.layers.speech_features import FrozenModel, stacked_fbanks
from ...codecs.spec import TokenizerSpec
from ..packages import transformers_package
from .base import Teacher, TeacherConfig, WaveformInput


@dataclass(frozen=True, kw_only=True)
class SpeechModelConfig(TeacherConfig):
    """One vector for each frame of the model (50 a second), or one for the whole crop.

    Attributes:
        model: hub id or folder of a model of transformers (`facebook/hubert-base-ls960`, `microsoft/wavlm-large`).
        layer: 0: the input of the first layer, 1: its output, -1: the output of the last; None: mean over all of them, 0 included.
        pool: "mean": one vector, the mean over time; "none": a vector for each frame.
        pad: samples of silence before and after, at the model's rate. With (0, 80) a model with windows of 400 samples and steps
            of 320 gives one frame for each 320 samples: those without padding, and one more. X-codec: (160, 160).
        normalize: bring each clip to mean 0 and variance 1; None: as in the config of the model's feature extractor.
        rate_hz: sample rate that the model takes as input.
    """

    kind: ClassVar[str] = "speech_model"
    model: str
    layer: SignedInt | None = None
    pool: Literal["none", "mean"] = "none"
    pad: tuple[int, int] = (0, 80)
    normalize: bool | None = None
    rate_hz: int = 16000

    def build(self, spec: TokenizerSpec) -> Teacher:
        return SpeechModel(self, spec)


class SpeechModel(Teacher):
    """A frozen speech model; settings: `SpeechModelConfig`."""

    def __init__(self, config: SpeechModelConfig, spec: TokenizerSpec) -> None:
        super().__init__()
        self.config = config
        normalize = config.normalize
        if normalize is None:
            extractor = transformers_package(f"the teacher {config.kind!r}").AutoFeatureExtractor.from_pretrained(config.model)
            normalize = bool(getattr(extractor, "do_normalize", False))
        self.waveform_input = WaveformInput(spec, config.rate_hz, normalize=normalize, who=config.kind)
        self.model = FrozenModel.pretrained(config.model)
        layers = self.model.model.config.num_hidden_layers
        if config.layer is not None and not -layers - 1 <= config.layer <= layers:
            raise ConfigError(f"layer is {config.layer}; {config.model} has {layers} layers: 0 to {layers}, or none for the mean.")

    def targets(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, D, N]`, or `[B, D, 1]`."""
        clips = self.waveform_input(x, self.config.pad)
        if self.model.model.config.model_type == "wav2vec2-bert":  # which takes filter banks, at 16 kHz
            clips = torch.stack([stacked_fbanks(clip) for clip in clips])
        states = self.model.layer(clips, self.config.layer)  # [B, D, N]
        return states.mean(2, keepdim=True) if self.config.pool == "mean" else states
