"""Discrete speech units: hidden states of a frozen self-supervised speech model, each replaced by the nearest centre of a k-means.

HuBERT (Hsu et al. 2021, arXiv 2106.07447) and its use as tokens: GSLM (Lakhotia et al. 2021, arXiv 2102.01192), TWIST (Hassid et al.
2023, arXiv 2305.13009). Read from facebookresearch/fairseq @ 325daafecf `examples/hubert/simple_kmeans`, facebookresearch/textlesslib
@ 5398abecf5 (both MIT) and, for several layers, speechbrain/speechbrain @ 07392e67df `DiscreteSSL` (Apache-2.0). The speech models are
those of transformers: HuBERT, WavLM, wav2vec 2.0 (XLS-R), data2vec, UniSpeech, and w2v-BERT 2.0, which takes filter banks.

    clip, 16 kHz -> normalised -> silence on both sides -> pieces of 100 s -> speech model -> layers 6, 9 -> one k-means each -> ids

A clip `[1, T]` has ids `[K, L]`, a codebook for each layer. Without padding L is (T - 400) // 320 + 1 at 50 Hz: samples that do not
fill the window of a frame get no ids. Each clip and each of its pieces goes through the speech model alone, as the authors do it: ids
depend neither on the other clips of a batch nor on padding. A unit vocoder (`vocoder.py`) is an optional decoder of one layer's units.

Differs: the last layer of a model with pre-norm blocks is taken after the final LayerNorm, as transformers and SpeechBrain have it;
fairseq takes it before. Clips are normalised with epsilon 1e-5, as fairseq and SpeechBrain do; transformers' own processors add 1e-7.
Distances are compared in float64 where float32 would leave a tie, so single ids may differ from scikit-learn's at such a tie.

Letters: B batch, T samples, L positions, D channels of a layer, K layers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...coding import Batch
from ...config import ConfigError
from ...layers.speech_features import (
    CONV_KERNELS,
    CONV_STRIDES,
    FBANK_HOP,
    FBANK_WINDOW,
    FrozenModel,
    NamedModel,
    conv_frames,
    stacked_fbanks,
)
from ...quantizers.base import QuantizerConfig
from ...quantizers.branches import Branches
from ...quantizers.kmeans import KMeansConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..own_pieces import OwnPiecesTokenizer
from .vocoder import UnitVocoder, UnitVocoderConfig, runs_of

#: `model_type` of models that take waveforms, as transformers names them -> number of layers where the config does not state it.
WAVE_MODELS = {
    "hubert": 12, "wavlm": 12, "wav2vec2": 12, "wav2vec2-conformer": 12, "data2vec-audio": 12, "unispeech": 12, "unispeech-sat": 12,
}  # fmt: skip
#: The one that takes filter banks.
FBANK_MODEL = "wav2vec2-bert"


@dataclass(frozen=True, kw_only=True)
class SpeechUnitsConfig:
    """Settings of `SpeechUnits`; the defaults are the units of TWIST and others, HuBERT-base, layer 9, 500 centres.

    Attributes:
        model: configuration of the speech model in the terms of transformers, with `model_type`.
        model_name: name of the published speech model, which is loaded from the hub when it is first needed; "": its weights are part
            of this tokenizer.
        layers: hidden states that get ids, one codebook each: 0 the input of the first layer, 1 its output, ...
        quantizer: settings of the quantizer of each layer; its `dim` is filled in.
        normalize: "clip" brings each clip to mean 0 and variance 1 first (large models, XLS-R), "none" does not (HuBERT-base).
        pad_samples: samples of silence on both sides of a clip. 0: as fairseq and textless; 40: slamkit.
        chunk_samples: longer clips go through the speech model in pieces of this many samples, each alone.
        vocoder: settings of the decoder from units to a waveform; None: the tokenizer only encodes.
    """

    model: Mapping[str, Any] = field(default_factory=lambda: {"model_type": "hubert"})
    model_name: str = "facebook/hubert-base-ls960"
    layers: tuple[int, ...] = (9,)
    quantizer: QuantizerConfig = KMeansConfig(codebook_size=500)
    normalize: Literal["none", "clip"] = "none"
    pad_samples: int = 0
    chunk_samples: int = 1_600_000
    vocoder: UnitVocoderConfig | None = None

    def __post_init__(self) -> None:
        kind = self.model.get("model_type")
        if kind not in (*WAVE_MODELS, FBANK_MODEL):
            raise ConfigError(f"model.model_type is {kind!r:.100}; allowed: {', '.join((*WAVE_MODELS, FBANK_MODEL))}.")
        for key, low in (("hidden_size", 1), ("num_hidden_layers", 0)):
            if key in self.model and (type(self.model[key]) is not int or self.model[key] < low):
                raise ConfigError(f"model.{key} is {self.model[key]!r:.100}; it must be a whole number from {low}.")
        for key, count in (("conv_kernel", CONV_KERNELS), ("conv_stride", CONV_STRIDES)):
            values = self.model.get(key, count)
            if not isinstance(values, (list, tuple)) or not values or not all(type(n) is int and n > 0 for n in values):
                raise ConfigError(f"model.{key} is {values!r:.100}; it must be a list of positive numbers, one for each convolution.")
        if len(self.model.get("conv_kernel", CONV_KERNELS)) != len(self.model.get("conv_stride", CONV_STRIDES)):
            raise ConfigError("model.conv_kernel and model.conv_stride differ in length; both have one number for each convolution.")
        most = self.num_layers
        if not self.layers or len(set(self.layers)) < len(self.layers) or not all(0 <= i <= most for i in self.layers):
            raise ConfigError(f"layers is {list(self.layers)!r:.100}; give one or more different numbers from 0 to {most}, the last.")
        if self.chunk_samples < self.window_samples or self.pad_samples < 0:
            raise ConfigError(
                f"chunk_samples is {self.chunk_samples}, at least the {self.window_samples} of one frame are needed; "
                f"pad_samples is {self.pad_samples}, at least 0."
            )
        if self.vocoder is not None and self.vocoder.hop_samples != self.hop_samples:
            raise ConfigError(f"vocoder.strides make {self.vocoder.hop_samples} samples of a unit, not {self.hop_samples}.")
        if self.vocoder is not None and len(self.layers) != 1:
            raise ConfigError(f"layers is {list(self.layers)!r:.100}; a vocoder decodes the units of one layer.")

    @property
    def takes_fbanks(self) -> bool:
        """True for a speech model that takes filter banks in place of the waveform."""
        return self.model["model_type"] == FBANK_MODEL

    @property
    def num_layers(self) -> int:
        """Number of the speech model's layers."""
        default = 24 if self.takes_fbanks else WAVE_MODELS[self.model["model_type"]]
        return int(self.model.get("num_hidden_layers", default))

    @property
    def width(self) -> int:
        """D, channels of each layer."""
        return int(self.model.get("hidden_size", 1024 if self.takes_fbanks else 768))

    @property
    def hop_samples(self) -> int:
        """Samples from one frame of the speech model to the next."""
        return 2 * FBANK_HOP if self.takes_fbanks else math.prod(self.model.get("conv_stride", CONV_STRIDES))

    @property
    def window_samples(self) -> int:
        """Samples that the first frame takes."""
        if self.takes_fbanks:
            return FBANK_WINDOW + FBANK_HOP  # a pair: one alone has no variance to be normalised by
        window = 1
        kernels, strides = self.model.get("conv_kernel", CONV_KERNELS), self.model.get("conv_stride", CONV_STRIDES)
        for kernel, stride in reversed(list(zip(kernels, strides, strict=True))):
            window = (window - 1) * stride + kernel
        return int(window)

    def frames(self, samples: int) -> int:
        """Number of frames, 0 or more, of one piece of `samples` samples."""
        if not self.takes_fbanks:
            return conv_frames(samples, self.model)
        return 0 if samples < self.window_samples else (samples - FBANK_WINDOW) // FBANK_HOP // 2 + 1  # pairs, the last one filled up


class SpeechUnits(OwnPiecesTokenizer):
    """Discrete speech units; see the module's docstring. `decode` needs a vocoder, else it raises NotDecodable; `semantic` returns the
    centres of the ids.

    The centres come from a published file or from `quantizer.fit`; `tokenzoo quantize --features` does either.
    """

    family: ClassVar[str] = "speech_units"
    config_class: ClassVar[type] = SpeechUnitsConfig
    encoder_only = ("model",)
    decoder_only = ("vocoder",)
    config: SpeechUnitsConfig
    place: Tensor

    def __init__(self, config: SpeechUnitsConfig) -> None:
        super().__init__()
        self.config = c = config
        self.model = None if c.model_name else FrozenModel(c.model)
        # of a published model no layers are loaded that are not needed; one more than that, for a LayerNorm follows the last one
        self._published = NamedModel(c.model_name, {"num_hidden_layers": min(c.num_layers, max(c.layers) + 1)})
        count = len(c.layers)
        self.quantizer = c.quantizer.build(dim=c.width) if count == 1 else Branches(replace(c.quantizer, dim=c.width), count)
        if c.vocoder is not None and self.quantizer.num_codebooks != 1:
            raise ConfigError(f"quantizer gives {self.quantizer.num_codebooks} ids a frame; a vocoder decodes one.")
        self.vocoder = None if c.vocoder is None else UnitVocoder(self.quantizer.codebook_sizes[0], c.vocoder)
        self.register_buffer("place", torch.zeros(()), persistent=False)  # device and dtype of a tokenizer without weights of its own
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=16000,
            hop_samples=c.hop_samples,
            names=tuple(f"layer {i}" for i in c.layers) if self.quantizer.num_codebooks == count > 1 else (),
            decodes=c.vocoder is not None,
            semantic_dim=count * c.width,
        )

    @property
    def device(self) -> torch.device:
        """Device on which ids are computed."""
        return self.place.device

    @property
    def dtype(self) -> torch.dtype:
        """Number type in which the speech model computes; distances to centres are always computed in float32."""
        return self.place.dtype

    # --- lengths ----------------------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """L, the number of ids of a clip of `samples` samples: those of its pieces together, at least 1."""
        c = self.config
        samples += 2 * c.pad_samples
        return max(1, samples // c.chunk_samples * c.frames(c.chunk_samples) + c.frames(samples % c.chunk_samples))

    def fill(self, x: Tensor) -> Tensor:
        """Clips `[B, 1, T]` as the speech model takes them: normalised, silence added, and as long as one frame at least."""
        c = self.config
        if c.normalize == "clip":
            x = torch.stack([F.layer_norm(row, row.shape) for row in x.float()]).to(x.dtype)
        x = F.pad(x, (c.pad_samples, c.pad_samples))
        return F.pad(x, (0, max(0, c.window_samples - x.shape[-1])))

    # --- contract ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def own_pieces(self, x: Tensor, batch: Batch | None = None) -> Iterator[Tensor]:
        """Hidden states of clips `[B, 1, T]`, layer behind layer, in pieces `[B, K D, l]` of `chunk_samples` samples."""
        model = self.model or self._published.get(self.device, self.dtype)
        for piece in self.fill(x)[:, 0].split(self.config.chunk_samples, dim=-1):
            if self.config.frames(piece.shape[-1]):  # what is left of a long clip may be too short for a frame
                yield torch.cat([model.layers(self._inputs(row), self.config.layers) for row in piece])

    def _inputs(self, x: Tensor) -> Tensor:
        """What the speech model takes for a piece `[T]`: `[1, T]`, or filter banks `[1, N, 160]`."""
        return stacked_fbanks(x)[None].to(self.dtype) if self.config.takes_fbanks else x[None]

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Centres `[B, K D, L]` of ids `[B, K, L]`."""
        return self.vectors_of(ids, grid)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Waveforms `[B, 1, L * hop]` of units `[B, 1, L]`."""
        self.check_decodes()
        assert self.vocoder is not None
        return self.vocoder(ids[:, 0])

    @torch.no_grad()
    def with_repeats(self, units: Tensor | Sequence[int]) -> Tokens:
        """Tokens `[1, 1, L]` of units without repeats `[R]`, each for as long as the vocoder predicts.

        Raises:
            NotDecodable: there is no vocoder.
            ValueError: the vocoder predicts no durations, or `units` is not one row.
        """
        self.check_decodes()
        assert self.vocoder is not None
        row = self.check_ids(torch.as_tensor(units)[None, None]).ids[:, 0].to(self.device)  # [1, R]
        return self.tokens(row.repeat_interleave(self.vocoder.durations(row)[0], dim=1)[:, None])

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode and quantize `[B, 1, T]`, and decode with the vocoder; without one, `x_hat` is the centres of the ids `[B, K D, L]`.

        `Reconstruction.features` of a vocoder that predicts durations holds "log_durations" and "log_durations_target", `[B, 1, R]`:
        logarithms of the durations plus one of the runs of units, zeros behind an item's last run.
        """
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        if self.vocoder is None:
            return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized)
        ids, features = quantized.ids[:, 0], {}
        if self.vocoder.predictor is not None:
            runs = runs_of(ids)
            found = self.vocoder.log_durations(runs.units) * (runs.durations > 0)
            features = {"log_durations": found[:, None], "log_durations_target": (runs.durations + 1).log()[:, None]}
        x_hat = self.to_length(self.vocoder(ids), x.shape[-1])
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)
