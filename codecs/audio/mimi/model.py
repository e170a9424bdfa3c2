"""Mimi: causal convolutions and transformers on both sides of a split residual quantizer; streams in frames of 80 ms.

Défossez et al. 2024, "Moshi: a speech-text foundation model for real-time dialogue", arXiv 2410.00037, section 3.3.
Parity was checked against kyutai-labs/moshi @ e6a55d2 (code MIT, weights CC-BY-4.0) and against transformers 5.23
(Apache-2.0), whose last frames differ, see `MimiConfig.last_frame`.

A causal SEANet encodes `[B, C, T]` to 25 frames a second, a causal transformer runs over them, and a strided convolution merges
pairs of them to latents `[B, D, L]`, one for every hop of 1920 samples. The split quantizer encodes the same latents twice: with
one semantic codebook, trained by distillation from a speech model, and with residual acoustic codebooks; ids `[B, K, L]`, the
vectors of both parts are added. The decoder mirrors the encoder and returns `[B, C, L * hop]`.

Letters: B batch, C channels, T samples, L = T / hop frames, D latent width, K codebooks.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ...coding import Batch, Coded
from ...layers.causal import Conv1d, ConvTranspose1d, State, Streaming
from ...layers.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from ...layers.transformer1d import Transformer1d, Transformer1dConfig
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...quantizers.split_vq import SplitResidualVQ
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import AudioTokenizer
from ..start import start_sound
from ..stream import Streamable

_SEANET = SEANetConfig(
    latent_dim=512,
    width=64,
    strides=(4, 5, 6, 8),
    last_kernel_size=3,
    identity_skip=True,
    lstm_layers=0,
    causal=True,
    padding="constant",
)
_TRANSFORMER = Transformer1dConfig()
_QUANTIZER = ResidualVQConfig(
    num_codebooks=32, codebook_size=2048, codebook_dim=256, projection="shared", proj_bias=False, split_first=1
)


@dataclass(frozen=True, kw_only=True)
class MimiConfig:
    """Settings of `Mimi`; the defaults are the published 24 kHz model with all its 32 codebooks.

    Attributes:
        sample_rate_hz: rate of the waveform.
        seanet: settings of the convolutional encoder and decoder; causal, and not padded by reflection.
        encoder_transformer, decoder_transformer: transformers at the rate of the convolutions' frames; None: no transformer.
        frame_stride: frames of the convolutions in each token position; a strided convolution merges them. 1: no such convolution.
        upsample_groups: groups of the decoder's transposed convolution of that stride; 0: one for each channel, as published.
        quantizer: settings of any quantizer; its `dim` is filled in. Published: one semantic level and 31 acoustic ones, side by side.
        last_frame: how a partial last frame is padded: "waveform" with zeros (the authors), or
            "layers", every strided convolution for itself (transformers); only the last ids differ.
        default_codebooks: codebooks that `encode` returns by default; 0: all. The authors' loader sets 8.
    """

    sample_rate_hz: int = 24000
    seanet: SEANetConfig = _SEANET
    encoder_transformer: Transformer1dConfig | None = _TRANSFORMER
    decoder_transformer: Transformer1dConfig | None = _TRANSFORMER
    frame_stride: int = 2
    upsample_groups: int = 0
    quantizer: QuantizerConfig = _QUANTIZER
    last_frame: Literal["waveform", "layers"] = "waveform"
    default_codebooks: int = 0

    def __post_init__(self) -> None:
        if not self.seanet.streamable or self.seanet.padding == "reflect":
            raise ValueError('seanet must be causal, with padding "constant" or "replicate": this codec streams.')

    @property
    def hop_samples(self) -> int:
        """Samples from one token position to the next."""
        return self.seanet.hop_samples * self.frame_stride


class MimiEncoder(Streaming):
    """Convolutions, transformer, strided convolution: `[B, C, T]` to `[B, D, L]`.

    Args:
        seanet, transformer, frame_stride: as in `MimiConfig`.
        fill: each strided convolution pads a partial last frame itself.
    """

    def __init__(
        self, seanet: SEANetConfig, transformer: Transformer1dConfig | None, frame_stride: int, *, fill: bool
    ) -> None:
        super().__init__()
        dim = seanet.latent_dim
        self.seanet = SEANetEncoder(seanet)
        self.transformer = _transformer(transformer, dim)
        self.downsample = None
        if frame_stride > 1:
            self.downsample = Conv1d(
                dim,
                dim,
                2 * frame_stride,
                stride=frame_stride,
                bias=False,
                causal=True,
                edge="replicate",
                fill=fill,
            )

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Encode `[B, C, T]` to `[B, D, L]`; with `state` the piece `x` continues where the last one ended."""
        x = self.seanet(x, state)  # [B, D, L * frame_stride]
        x = x if self.transformer is None else self.transformer(x, state)
        return x if self.downsample is None else self.downsample(x, state)


class MimiDecoder(Streaming):
    """Transposed convolution, transformer, convolutions: `[B, D, L]` to `[B, C, L * hop]`."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        c, dim = config, config.seanet.latent_dim
        self.upsample = None
        if c.frame_stride > 1:
            self.upsample = ConvTranspose1d(
                dim,
                dim,
                2 * c.frame_stride,
                stride=c.frame_stride,
                groups=c.upsample_groups or dim,
                bias=False,
                causal=True,
            )
        self.transformer = _transformer(c.decoder_transformer, dim)
        self.seanet = SEANetDecoder(c.seanet)

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        """Decode `[B, D, L]` to `[B, C, L * hop]`; with `state` the piece `z` continues where the last one ended."""
        x = z if self.upsample is None else self.upsample(z, state)
        x = x if self.transformer is None else self.transformer(x, state)
        return self.seanet(x, state)


def _transformer(config: Transformer1dConfig | None, dim: int) -> Transformer1d | None:
    return None if config is None else Transformer1d(config, in_channels=dim, out_channels=dim)


class Mimi(Streamable, AudioTokenizer):
    """Streaming speech codec; see the module's docstring.

    With a split quantizer the first codebook is named `semantic`, the others `acoustic`, and `forward` returns
    `features["semantic"]`, the vectors of the first one, for a distillation loss. The layers have no weight norm: in the
    published weights it is folded into the weights.
    """

    family: ClassVar[str] = "mimi"
    config_class: ClassVar[type] = MimiConfig
    piece_positions = 500  # 40 s at 12.5 frames a second

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.pad_rest = c.last_frame == "waveform"
        self.encoder = MimiEncoder(c.seanet, c.encoder_transformer, c.frame_stride, fill=not self.pad_rest)
        self.quantizer = c.quantizer.build(dim=c.seanet.latent_dim)
        self.decoder = MimiDecoder(c)
        start_sound(self.encoder, self.decoder)
        split = int(getattr(c.quantizer, "split_first", 0))
        num = self.quantizer.num_codebooks
        self.spec = AudioSpec.of(
            self.quantizer,
            names=("semantic",) * split + ("acoustic",) * (num - split) if split else (),
            channels=c.seanet.channels,
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
            causal=True,
            latency_samples=c.hop_samples - 1,
            semantic_dim=c.seanet.latent_dim if split else 0,
        )

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents `[B, D, L]` of samples `[B, C, T]`, continuing where `state` ends."""
        return self.encoder(x, state)

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`, continuing where `state` ends."""
        return self.decoder(z_q, state)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, C, T]` with gradients; with a split quantizer `features["semantic"]` is `[B, D, L]`."""
        out = super().forward(x)
        if not isinstance(self.quantizer, SplitResidualVQ):
            return out
        return dataclasses.replace(out, features={"semantic": self.quantizer.first_part(out.z, out.quantized.ids)})

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, K, L]` of latents `[B, D, L]`; K is `config.default_codebooks` unless another number is requested."""
        num = batch.options.num_codebooks or self.config.default_codebooks or None
        return super().ids_of(z, dataclasses.replace(batch, options=dataclasses.replace(batch.options, num_codebooks=num)))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Vectors `[B, D, L]` of the semantic codebooks (those trained by distillation)."""
        return self.vectors_of(ids[:, : self.spec.names.count("semantic")])
