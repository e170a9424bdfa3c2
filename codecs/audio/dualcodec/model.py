"""DualCodec: one semantic codebook over a speech model's features, and DAC on what its reconstruction leaves over.

Li et al. 2025, "DualCodec: A Low-Frame-Rate, Semantically-Enhanced Neural Audio Codec for Speech Generation", arXiv 2505.13000.
Parity was checked against jiaqili3/DualCodec @ 5e80764 (MIT).

    features -> ConvNeXt -> VQ ----------> ids 0 -> ConvNeXt -> s
    waveform -> DAC encoder -> (minus s) -> residual VQ -> ids 1.. -> (plus s) -> DAC decoder -> waveform

The features `[B, C, L]` are w2v-BERT 2.0's, averaged to 12.5 (or 25) a second. The latents `[B, S + D, L]` contain both paths: the
semantic encoder's output, then the acoustic residual; ids `[B, K, L]`, the semantic codebook first. Each transposed convolution
with an odd stride returns one step less than `stride` times its input; `decode` pads the waveform with zeros.

Letters: B batch, T samples, L positions, S width of the semantic path, D acoustic width, C channels of the features.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.convnext1d import ConvNeXtBlock1d
from ...layers.dac import dac_init
from ...layers.speech_features import FBANK_HOP, FBANK_WINDOW, FrozenModel, NamedModel, stacked_fbanks
from ...layers.strided import StridedConfig
from ...media import resample_short
from ...precision import float32_by_default
from ...quantizers.base import QuantizerConfig
from ...quantizers.dual import Dual, DualConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...quantizers.vq import VQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import pad_to_hop
from ..dac.model import DACDecoder, DACEncoder
from ..features import FeatureTokenizer

#: Input sampling rate of the speech model, and its frames per second.
SPEECH_RATE_HZ, SPEECH_FRAMES_HZ = 16000, 50


def _factorised(**settings: Any) -> dict[str, Any]:
    base = {"codebook_dim": 8, "normalize": True, "update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    return base | settings


@dataclass(frozen=True, kw_only=True)
class DualCodecConfig(StridedConfig):
    """Settings of `DualCodec`; the defaults are the 12.5 Hz model's. What is not listed here is in `StridedConfig`.

    Attributes:
        latent_dim: D, channels of the acoustic latents; 0: the encoder's channels at frame rate.
        semantic_model: configuration of the speech model in the terms of transformers, whose weights are part of this
            model; empty: the published model `semantic_name` is loaded from the hub when it is first needed.
        semantic_name: name of the published speech model.
        semantic_layers: number of its layers that run; the output of the last is the features.
        semantic_pool: number of its frames (50 a second) that are averaged, one mean for each token position.
        semantic_in: C, channels of the speech model's features.
        semantic_width: S, channels of the semantic latents.
        semantic_hidden: inner width of the ConvNeXt blocks.
        semantic_blocks: number of ConvNeXt blocks on each side of the semantic codebook.
        semantic_causal: convolutions of the semantic path are causal.
        subtract_decoded: subtract and add the output of the semantic decoder; otherwise the quantized semantic latent itself, and
            the decoder's output is only a training target.
        semantic_only: in training, probability that an item is decoded without its acoustic codebooks.
        semantic_quantizer: settings of the semantic path's quantizer, of any kind with one codebook; its `dim` is filled in.
        quantizer: settings of the acoustic residual's quantizer, of any kind that decodes prefixes; its `dim` is filled in.
    """

    sample_rate_hz: int = 24000
    strides: tuple[int, ...] = (4, 5, 6, 8, 2)
    encoder_width: int = 32
    latent_dim: int = 0
    semantic_model: Mapping[str, Any] = field(default_factory=dict)
    semantic_name: str = "facebook/w2v-bert-2.0"
    semantic_layers: int = 17
    semantic_pool: int = 4
    semantic_in: int = 1024
    semantic_width: int = 768
    semantic_hidden: int = 2048
    semantic_blocks: int = 4
    semantic_causal: bool = True
    subtract_decoded: bool = True
    semantic_only: float = 0.125
    semantic_quantizer: QuantizerConfig = VQConfig(codebook_size=16384, **_factorised())
    quantizer: QuantizerConfig = ResidualVQConfig(num_codebooks=7, codebook_size=4096, **_factorised(dropout=1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        added = self.semantic_in if self.subtract_decoded else self.semantic_width
        if added != self.dim:
            name = "semantic_in" if self.subtract_decoded else "semantic_width"
            raise ValueError(f"{name} is {added} and latent_dim {self.dim}: they are added, so they must be equal.")
        if not self.subtract_decoded and self.semantic_width != self.semantic_in:
            raise ValueError("without subtract_decoded, semantic_width must equal semantic_in.")
        if not 0 <= self.semantic_only < 1:
            raise ValueError(f"semantic_only is {self.semantic_only}; it is a probability below 1.")

    @property
    def dim(self) -> int:
        """D, number of channels of the latents."""
        return self.latent_dim or self.encoder_top


def _blocks(c: DualCodecConfig) -> list[nn.Module]:
    return [
        ConvNeXtBlock1d(
            c.semantic_width, kernel_size=7, layer_scale=None, causal=c.semantic_causal, hidden=c.semantic_hidden
        )
        for _ in range(c.semantic_blocks)
    ]


class SemanticPath(nn.Module):
    """Encoder and decoder around the semantic codebook: features `[B, C, L]` to latents `[B, S, L]`, and back."""

    def __init__(self, config: DualCodecConfig) -> None:
        super().__init__()
        c = config
        self.down = nn.Conv1d(c.semantic_in, c.semantic_width, 1)
        self.encoder = nn.Sequential(*_blocks(c))
        self.decoder = nn.Sequential(*_blocks(c))
        self.up = nn.Conv1d(c.semantic_width, c.semantic_in, 1)

    def encode(self, features: Tensor) -> Tensor:
        """Map features `[B, C, L]` to latents `[B, S, L]`."""
        return self.encoder(self.down(features))

    def decode(self, z_q: Tensor) -> Tensor:
        """Map quantized latents `[B, S, L]` to features `[B, C, L]`."""
        return self.up(self.decoder(z_q))


class DualCodec(FeatureTokenizer):
    """DualCodec; see the module's docstring. Codebook 0 is semantic; the first k codebooks alone can be decoded.

    `features=` takes the speech model's features `[B, C, L]`, already normalised and averaged. Without it they are computed; then
    samples that do not fill the speech model's last window get no frame (as published), and `decode` returns zeros for them.
    """

    family: ClassVar[str] = "dualcodec"
    config_class: ClassVar[type] = DualCodecConfig
    encoder_only = ("encoder", "semantic_path.down", "semantic_path.encoder", "semantic_model")
    feature_mean: Tensor
    feature_deviation: Tensor

    def __init__(self, config: DualCodecConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.encoder = DACEncoder(c.encoder_width, c.strides, c.dim)
        self.decoder = DACDecoder(c.dim, c.decoder_width, c.ups)
        self.semantic_path = SemanticPath(c)
        self.apply(dac_init)
        self.semantic_model = FrozenModel(c.semantic_model) if c.semantic_model else None
        self._published = NamedModel(c.semantic_name, {"num_hidden_layers": c.semantic_layers})
        self.register_buffer("feature_mean", torch.zeros(c.semantic_in))
        self.register_buffer("feature_deviation", torch.ones(c.semantic_in))
        both = DualConfig(
            dim=c.semantic_width + c.dim,
            first=dataclasses.replace(c.semantic_quantizer, dim=c.semantic_width),
            second=dataclasses.replace(c.quantizer, dim=c.dim),
            prefix=True,
        )
        self.quantizer: Dual = Dual(both)
        if self.quantizer.first.num_codebooks != 1:
            raise ValueError("semantic_quantizer must have one codebook.")
        self.spec = AudioSpec.of(
            self.quantizer,
            names=("semantic", *(f"acoustic {k}" for k in range(1, self.quantizer.num_codebooks))),
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
            semantic_dim=c.semantic_in,
        )

    # --- features ---------------------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples that is encoded without `features=`."""
        speech_samples = -(-samples * SPEECH_RATE_HZ // self.spec.sample_rate_hz)
        banks = (speech_samples - FBANK_WINDOW) // FBANK_HOP + 1
        return max(1, -(-banks // 2) // self.config.semantic_pool)

    def _padded(self, x: Tensor) -> Tensor:
        """Pad clips `[B, 1, T]` with zeros to the length that the speech model needs for one position."""
        speech_samples = FBANK_WINDOW + FBANK_HOP * (2 * self.config.semantic_pool - 1)
        needed = -(-speech_samples * self.spec.sample_rate_hz // SPEECH_RATE_HZ)
        return F.pad(x, (0, max(0, needed - x.shape[-1])))

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's features `[B, C, L]` of clips `[B, 1, T]`, normalised and averaged."""
        c = self.config
        if c.sample_rate_hz * c.semantic_pool != self.spec.hop_samples * SPEECH_FRAMES_HZ:
            raise ValueError(
                f"the speech model gives {SPEECH_FRAMES_HZ / c.semantic_pool} positions a second, this codec has "
                f"{self.spec.frame_rate_hz}: change semantic_pool, or pass `features=` to encode."
            )
        with float32_by_default():
            speech = resample_short(x[:, 0].float(), c.sample_rate_hz, SPEECH_RATE_HZ)
        banks = torch.stack([stacked_fbanks(clip) for clip in speech])  # [B, N, 160]
        model = self.semantic_model or self._published.get(self.device, self.dtype)
        out = model(banks.to(self.dtype))  # [B, C, N]
        out = (out - self.feature_mean[:, None]) / self.feature_deviation[:, None]
        return F.avg_pool1d(out, c.semantic_pool)

    # --- contract ---------------------------------------------------------------------------------------------------

    def semantic_part(self, semantic_q: Tensor) -> Tensor:
        """Contribution of the semantic codebook's vectors `[B, S, L]` to the acoustic latent, `[B, D, L]`."""
        return self.semantic_path.decode(semantic_q) if self.config.subtract_decoded else semantic_q

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Latents `[B, S + D, L]` of clips `[B, 1, T]`; `features` `[B, C, L]` are computed if they are not given.

        Differs: the semantic part that is subtracted is a constant in training, so that the decoder's gradient to the semantic
        path is not cancelled by that of the residual.
        """
        if features is None:
            x = self._padded(x)
            features = self.speech_features(x)
        semantic = self.semantic_path.encode(features.to(self.dtype))  # [B, S, L]
        acoustic = self.encoder(pad_to_hop(x, self.spec.hop_samples))
        length = min(acoustic.shape[-1], semantic.shape[-1])
        if abs(acoustic.shape[-1] - semantic.shape[-1]) > 2:
            raise ValueError(
                f"{acoustic.shape[-1]} positions of audio and {semantic.shape[-1]} of features: "
                "they do not belong together."
            )
        semantic, acoustic = semantic[..., :length], acoustic[..., :length]
        with torch.no_grad():
            first = self.quantizer.first
            decoded = self.semantic_part(first.decode(first.encode(semantic)).to(self.dtype))  # [B, D, L]
        return torch.cat([semantic, acoustic - decoded], dim=1)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, about L * hop]` of latents `[B, S + D, L]`."""
        semantic, acoustic = z_q.split([self.config.semantic_width, self.config.dim], dim=1)
        return self.decoder(acoustic + self.semantic_part(semantic))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The speech model's features `[B, C, L]`, normalised and averaged, as reconstructed from the semantic ids (codebook 0)."""
        return self.semantic_path.decode(self.quantizer.first.decode(ids[:, :1]).to(self.dtype))

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients, except for the frozen speech model.

        `Reconstruction.features` holds "semantic", the features `[B, C, L]` reconstructed from the semantic codebook, and
        "semantic_target", the speech model's features.
        """
        if features is None:
            x_in = self._padded(x)
            features = self.speech_features(x_in)
        else:
            x_in = x
        width = self.config.semantic_width
        z = self.encode_latents(x_in, features)
        quantized = self.quantizer(z)
        semantic, acoustic = quantized.z_q[:, :width], quantized.z_q[:, width:]
        if self.training and self.config.semantic_only:
            keep = torch.rand(len(x), 1, 1, device=x.device) >= self.config.semantic_only
            acoustic = acoustic * keep
        decoded = self.semantic_path.decode(semantic)
        semantic_latent = decoded if self.config.subtract_decoded else semantic
        x_hat = self.to_length(self.decoder(acoustic + semantic_latent), x.shape[-1])
        out = {"semantic": decoded, "semantic_target": features[..., : z.shape[-1]]}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=out)
