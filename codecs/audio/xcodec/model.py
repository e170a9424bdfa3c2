"""X-codec: DAC's encoder and a frozen speech model's features behind one residual quantizer.

Ye et al. 2024, "Codec Does Matter: Exploring the Semantic Shortcoming of Codec for Audio Language Model", arXiv 2408.17175. Parity
was checked against zhenye234/xcodec @ a2e52d3 (`SoundStream`; no licence at the root: own code from the published facts) and
transformers 5.23 (`XcodecModel`, Apache-2.0).

The same network with other sizes is the tokenizer of Higgs Audio v2 (Boson AI; no paper): 24 kHz, 25 frames a second, clips resampled
to 16 kHz for the speech model, every second of its frames, and a residual quantizer with a pair of maps at each level. Parity was
checked against boson-ai/higgs-audio @ f04f5df (`HiggsAudioTokenizer`, Apache-2.0) and transformers 5.24 (`HiggsAudioV2TokenizerModel`).

    waveform -> DAC encoder ----------------> \\                           / linear -> DAC decoder -> waveform
    features -> convolutions (RepCodec's) --> joined, linear -> residual VQ - linear -> convolutions -> features

A clip `[B, 1, T]` and its speech features `[B, C, N]` are encoded to joint latents `[B, D, L]`, 50 a second; the residual quantizer
returns ids `[B, K, L]`. From the quantized latents one decoder returns the waveform `[B, 1, L * hop]`; another reconstructs the
features, for training and as semantic features. The features are the mean over all layers of HuBERT or WavLM, computed from the
clip with half a frame of silence on both sides.

The end of a clip: by default clips are not padded. Samples that do not fill a frame of both encoders get no ids, and `decode`
returns zeros for them (`fill` "frame" pads the clip instead). If the waveform's encoder would return another number of frames than
the features' encoder, it also runs on the clip with silence on both sides, as published. Higgs' own code then cuts both to the shorter.

Letters: B batch, T samples, L positions, D latent width, C channels of the features, N their frames, K codebooks.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...layers.dac import dac_init
from ...layers.feature_conv import FeatureConvConfig, FeatureDecoder, FeatureEncoder
from ...layers.speech_features import FrozenModel, NamedModel, conv_frames
from ...layers.strided import StridedConfig
from ...media import resample_short
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..bandwidth import codebooks_within
from ..base import pad_to_hop
from ..dac.model import DACDecoder, DACEncoder
from ..features import FeatureTokenizer

#: The authors' commitment loss is a mean over the 8 levels, `ResidualVQ`'s a sum.
_QUANTIZER = ResidualVQConfig(num_codebooks=8, kmeans_iterations=50, commitment_weight=1 / 8, dropout=1.0)


@dataclass(frozen=True, kw_only=True)
class XCodecConfig(StridedConfig):
    """Settings of `XCodec`; the defaults are the published models'. What is not listed here is in `StridedConfig`.

    Attributes:
        decoder_strides: up-sampling of each level of the decoder, from the frames; empty: `strides` in the same order (not reversed).
        acoustic_dim: channels of the encoder's output and the decoder's input.
        semantic: settings of the features' encoder and decoder.
        semantic_model: configuration of the speech model in the terms of transformers, whose weights are part of this
            model; empty: the published model `semantic_name` is loaded from the hub when it is first needed.
        semantic_name: name of the published speech model.
        semantic_rate_hz: rate in Hz to which clips are resampled for the speech model; 0: none, it takes the codec's own rate.
        semantic_step: number of the speech model's frames that give one frame of its features.
        semantic_pool: which: the "first" of them (every `semantic_step`-th frame), or their "mean".
        pad_samples: samples of silence on both sides of the speech model's input.
        acoustic_pad_samples: samples of silence on both sides of the waveform's encoder, where it would give another number of frames
            than the features' encoder; None: `pad_samples`.
        unequal: where the two numbers still differ: "error", or "cut" both to the shorter.
        joint_dim: D, the channels of the joint latents; 0: `acoustic_dim` + the features' channels.
        quantizer: settings of any quantizer; its `dim` is filled in: D.
        bandwidths_kbps: bit rates in kbit/s that the model was trained for; by default `encode` returns the codebooks of the last
            one. Empty: all codebooks.
        fill: "frame" pads clips with zeros to whole frames, "none" does not; see the module's docstring.
    """

    sample_rate_hz: int = 16000
    strides: tuple[int, ...] = (8, 5, 4, 2)
    decoder_width: int = 1024
    acoustic_dim: int = 256
    semantic: FeatureConvConfig = FeatureConvConfig(strides=(1, 1))
    semantic_model: Mapping[str, Any] = field(default_factory=dict)
    semantic_name: str = "facebook/hubert-base-ls960"
    semantic_rate_hz: int = 0
    semantic_step: int = 1
    semantic_pool: Literal["first", "mean"] = "first"
    pad_samples: int = 160
    acoustic_pad_samples: int | None = None
    unequal: Literal["error", "cut"] = "error"
    joint_dim: int = 0
    quantizer: QuantizerConfig = _QUANTIZER
    bandwidths_kbps: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 4.0)
    fill: Literal["none", "frame"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        width = self.semantic_model.get("hidden_size", self.semantic.features)
        if width != self.semantic.features:
            raise ValueError(f"semantic.features is {self.semantic.features}, but the speech model gives {width} channels.")
        if self.semantic_step < 1:
            raise ValueError(f"semantic_step is {self.semantic_step}; allowed: 1 or more.")

    @property
    def ups(self) -> tuple[int, ...]:
        """Strides of the decoder."""
        return self.decoder_strides or self.strides

    @property
    def semantic_dim(self) -> int:
        """Output channels of the features' encoder."""
        return self.semantic.channels(-1)

    @property
    def dim(self) -> int:
        """D, number of channels of the latents."""
        return self.joint_dim or self.acoustic_dim + self.semantic_dim


class XCodec(FeatureTokenizer):
    """X-codec; see the module's docstring. The first k codebooks alone can be decoded. Ids depend on the whole clip.

    `features=` takes the speech model's features `[B, C, N]`; clips are then not padded. Clips are never cut into pieces.
    """

    family: ClassVar[str] = "xcodec"
    config_class: ClassVar[type] = XCodecConfig
    encoder_only = ("encoder", "semantic_encoder", "join", "semantic_model")
    decoder_only = ("to_acoustic", "decoder", "to_semantic", "semantic_decoder")
    config: XCodecConfig

    def __init__(self, config: XCodecConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = DACEncoder(c.encoder_width, c.strides, c.acoustic_dim).apply(dac_init)
        self.semantic_encoder = FeatureEncoder(None, c.semantic)
        self.join = nn.Linear(c.acoustic_dim + c.semantic_dim, c.dim)
        self.quantizer = c.quantizer.build(dim=c.dim)
        self.to_acoustic = nn.Linear(c.dim, c.acoustic_dim)
        self.decoder = DACDecoder(c.acoustic_dim, c.decoder_width, c.ups, whole=True, tanh=False).apply(dac_init)
        self.to_semantic = nn.Linear(c.dim, c.semantic.width)
        self.semantic_decoder = FeatureDecoder(c.semantic.width, c.semantic)
        self.semantic_model = FrozenModel(c.semantic_model) if c.semantic_model else None
        self._published = NamedModel(c.semantic_name, {})
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
            semantic_dim=c.semantic.features,
        )

    # --- lengths ----------------------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples that is encoded without `features=`."""
        if self.config.fill == "frame":
            return super().num_frames(samples)
        return max(1, self._frames(samples))

    def _semantic_frames(self, samples: int) -> int:
        """Number of output frames of the features' encoder; 0 for clips that are too short."""
        c = self.config
        samples = -(-samples * (c.semantic_rate_hz or c.sample_rate_hz) // c.sample_rate_hz)
        frames = conv_frames(samples + 2 * c.pad_samples, c.semantic_model)
        frames = -(-frames // c.semantic_step) if c.semantic_pool == "first" else frames // c.semantic_step
        for stride in c.semantic.strides:
            frames = frames if stride == 1 else max(0, (frames - 2) // stride + 1)
        return frames

    def _acoustic_frames(self, samples: int) -> int:
        for s in self.config.strides:
            samples = max(0, (samples + 2 * math.ceil(s / 2) - 2 * s) // s + 1)
        return samples

    def _silence(self, samples: int, frames: int) -> int:
        """Samples of silence on both sides of the waveform's encoder, where the features' encoder returns `frames` frames."""
        if self._acoustic_frames(samples) == frames:
            return 0
        return self.config.pad_samples if self.config.acoustic_pad_samples is None else self.config.acoustic_pad_samples

    def _frames(self, samples: int) -> int:
        """Number of frames that both encoders return, with `unequal` "error" those of the features' encoder."""
        frames = self._semantic_frames(samples)
        if self.config.unequal == "error":
            return frames
        return min(frames, self._acoustic_frames(samples + 2 * self._silence(samples, frames)))

    def _padded(self, x: Tensor) -> Tensor:
        """Pad clips `[B, 1, T]` with zeros: to whole frames, or with `fill` "none" only clips that are too short for one frame."""
        if self.config.fill == "frame":
            return pad_to_hop(x, self.spec.hop_samples)
        least = x.shape[-1]
        while not self._frames(least):
            least += 1
        return F.pad(x, (0, least - x.shape[-1]))

    # --- features ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's features `[B, C, N]` of clips `[B, 1, T]`: the mean over its layers, the embedding included."""
        c, x = self.config, x[:, 0]
        x = resample_short(x, c.sample_rate_hz, c.semantic_rate_hz or c.sample_rate_hz)
        model = self.semantic_model or self._published.get(self.device, self.dtype)
        features = model.mean_of_layers(F.pad(x, (c.pad_samples, c.pad_samples)))
        if c.semantic_step == 1:
            return features
        return features[..., :: c.semantic_step] if c.semantic_pool == "first" else F.avg_pool1d(features, c.semantic_step)

    # --- contract ---------------------------------------------------------------------------------------------------

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, 1, T]`; if `features` `[B, C, N]` are given, clips are not padded."""
        if features is None:
            x = self._padded(x)
            features = self.speech_features(x)
        semantic = self.semantic_encoder(features.to(self.dtype))  # [B, C', L]
        length = semantic.shape[-1]
        if silence := self._silence(x.shape[-1], length):
            x = F.pad(x, (silence, silence))
        frames = self._acoustic_frames(x.shape[-1])
        if self.config.unequal == "cut":
            length = min(frames, length)
        elif frames != length:
            step = self.config.semantic_step * math.prod(self.config.semantic.strides)
            raise ValueError(
                f"{frames} positions of audio and {length} of features: they do not belong together. The speech model must "
                f"give a frame every {self.spec.hop_samples // step} samples."
            )
        joined = torch.cat([self.encoder(x)[..., :length], semantic[..., :length]], dim=1)
        return self.join(joined.transpose(1, 2)).transpose(1, 2)

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, K, L]`; K is the number of codebooks of the highest bandwidth, unless another is requested."""
        o, c = batch.options, self.config
        if o.num_codebooks is None and c.bandwidths_kbps and self.spec.prefix:
            o = dataclasses.replace(o, num_codebooks=self.num_codebooks_for(c.bandwidths_kbps[-1]))
        return super().ids_of(z, dataclasses.replace(batch, options=o))

    def num_codebooks_for(self, bandwidth_kbps: float) -> int:
        """Number of codebooks that fit into `bandwidth_kbps` (kbit/s), at least 1; for `encode(x, num_codebooks=...)`.

        Raises:
            ValueError: a bandwidth that the model was not trained for.
        """
        return codebooks_within(self.spec, bandwidth_kbps, self.config.bandwidths_kbps, in_kilobits=True)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        return self.decoder(self.to_acoustic(z_q.transpose(1, 2)).transpose(1, 2))

    def decode_features(self, z_q: Tensor) -> Tensor:
        """The speech model's features `[B, C, N]` as reconstructed from quantized latents `[B, D, L]`; for training."""
        return self.semantic_decoder(self.to_semantic(z_q.transpose(1, 2)).transpose(1, 2))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The speech model's features `[B, C, N]` as reconstructed from ids `[B, K', L]`."""
        return self.decode_features(self.vectors_of(ids))

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients, except for the frozen speech model.

        `Reconstruction.features` holds "semantic", the features `[B, C, N]` reconstructed from the quantized latents, and
        "semantic_target", the speech model's features.
        """
        given = x
        if features is None:
            given = self._padded(x)
            features = self.speech_features(given)
        z = self.encode_latents(given, features)
        quantized = self.quantizer(z)
        x_hat = self.to_length(self.decode_latents(quantized.z_q), x.shape[-1])
        semantic = self.decode_features(quantized.z_q)
        out = {"semantic": semantic, "semantic_target": features[..., : semantic.shape[-1]]}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=out)
