"""H-Codec 1.0 (QuarkAudio, UniTok-Audio): two parallel residual quantizers, on waveform and on HuBERT features.

Liu et al. 2025, "UniTok-Audio: A Unified Audio Generation Framework via Generative Modeling on Discrete Codec Tokens", arXiv
2510.26372. Parity was checked against alibaba/unified-audio @ 7afa7ab, QuarkAudio-HCodec/HCodec-1.0 (Apache-2.0).

    waveform -> SEANet, transformer, stride 2 -> residual VQ -> first half of the ids  \\
    features -> convolutions ------------------> residual VQ -> second half of the ids -> joined -> decoder -> waveform

Both paths encode a clip `[B, 1, T]` to D channels at 25 positions a second. The latents `[B, 2 D, L]` are their concatenation, the
ids `[B, K, L]` those of both quantizers. The decoder doubles the frame rate and ends in an inverse short-time Fourier transform:
`[B, 1, L * hop]`.

Letters: B batch, T samples, L positions, D width of each latent, C channels of the features, N their frames.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.convnext1d import ConvNeXtBlock1d
from ...layers.feature_conv import FeatureConvConfig, FeatureDecoder, FeatureEncoder
from ...layers.seanet import SEANetConfig, SEANetConv1d, SEANetDown, make_activation
from ...layers.speech_features import FrozenModel, NamedModel
from ...layers.transformer1d import Transformer1d, Transformer1dConfig
from ...layers.vocos import FourierHead, FrameResBlock
from ...quantizers.base import QuantizerConfig
from ...quantizers.dual import Dual, DualConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import pad_to_hop
from ..features import FeatureTokenizer
from ..start import start_sound

#: Samples of silence on both sides before the speech model, and from one of its frames to the next, at 16 kHz.
SPEECH_PAD, SPEECH_HOP = 160, 320
#: Magnitudes of the features are raised to this power before they are encoded.
SPEECH_POWER = 0.3
#: Stride of the convolution after the encoder's transformer; the decoder's first layer up-samples by the same factor.
LAST_STRIDE = 2

_QUANTIZER = ResidualVQConfig(
    num_codebooks=4, codebook_size=1024, commitment_weight=1.0, kmeans_iterations=50, replace_below=0.0, dropout=1.0
)


@dataclass(frozen=True, kw_only=True)
class HCodecConfig:
    """Settings of `HCodec`; the defaults are the 16 kHz, 25 Hz model's.

    Attributes:
        sample_rate_hz: rate of the waveform.
        seanet: settings of the convolutional encoder; its `latent_dim` is D, the width of its last level, and it has no LSTM.
        heads: number of attention heads of the transformers in encoder and decoder.
        layers: number of layers of each of these transformers.
        semantic: settings of the features' encoder and decoder.
        semantic_model: configuration of the speech model in the terms of transformers, whose weights are part of this
            model; empty: the published model `semantic_name` is loaded from the hub when it is first needed.
        semantic_name: name of the published speech model.
        quantizer: settings of the quantizer of the waveform's latents; its `dim` is filled in.
        semantic_quantizer: settings of the quantizer of the features' latents; its `dim` is filled in.
        decoder_dim: width of the decoder, a multiple of 32.
        decoder_hidden: inner width of its ConvNeXt blocks.
        decoder_blocks: number of these blocks.
        window_samples: window length of the inverse Fourier transform.
        dropout: probability of dropout in the decoder's residual blocks.
    """

    sample_rate_hz: int = 16000
    seanet: SEANetConfig = SEANetConfig(latent_dim=512, lstm_layers=0)
    heads: int = 8
    layers: int = 2
    semantic: FeatureConvConfig = FeatureConvConfig()
    semantic_model: Mapping[str, Any] = field(default_factory=dict)
    semantic_name: str = "bosonai/hubert_base"
    quantizer: QuantizerConfig = _QUANTIZER
    semantic_quantizer: QuantizerConfig = _QUANTIZER
    decoder_dim: int = 768
    decoder_hidden: int = 2304
    decoder_blocks: int = 12
    window_samples: int = 1280
    dropout: float = 0.1

    def __post_init__(self) -> None:
        c = self.seanet
        if c.latent_dim != c.width * 2 ** len(c.strides):
            raise ValueError(f"seanet.latent_dim is {c.latent_dim}; it must be its last level's width.")
        if c.lstm_layers or c.channels != 1 or c.norm != "none" or c.causal:
            raise ValueError('seanet must have lstm_layers = 0, channels = 1, norm = "none" and causal = false.')
        if self.decoder_dim % 32:
            raise ValueError(f"decoder_dim is {self.decoder_dim}; the group norms need a multiple of 32.")

    @property
    def hop_samples(self) -> int:
        """Samples from one token position to the next."""
        return self.seanet.hop_samples * LAST_STRIDE


def _transformer(width: int, c: HCodecConfig) -> Transformer1d:
    """Gated blocks with an LSTM before each attention; every position attends to all others."""
    return Transformer1d(
        Transformer1dConfig(
            width=width,
            layers=c.layers,
            heads=c.heads,
            feed_forward=4 * width,
            gated=True,
            activation="silu",
            context=None,
            causal=False,
            norm="rms",
            norm_eps=1e-6,
            layer_scale=None,
            bias=True,
            out_bias=False,
            recurrent=True,
        )
    )


class HCodecEncoder(nn.Module):
    """Waveforms `[B, 1, T]`, any T, to latents `[B, D, ceil(T / hop)]`."""

    def __init__(self, config: HCodecConfig) -> None:
        super().__init__()
        s, dim = config.seanet, config.seanet.latent_dim
        self.stem = SEANetConv1d(1, s.width, s.kernel_size, s)
        self.levels = nn.Sequential(*(SEANetDown(level, s) for level in range(len(s.strides))))
        self.transformer = _transformer(dim, config)
        self.act = make_activation(s, dim)
        self.head = SEANetConv1d(dim, dim, 2 * LAST_STRIDE, s, stride=LAST_STRIDE)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: `[B, 1, T]` to `[B, D, ceil(T / hop)]`."""
        return self.head(self.act(self.transformer(self.levels(self.stem(x)))))


class HCodecDecoder(nn.Module):
    """`[B, 2 D, L]` to `[B, 1, L * hop]`: twice the frames, transformer, ConvNeXt blocks, inverse Fourier transform."""

    def __init__(self, config: HCodecConfig) -> None:
        super().__init__()
        c, dim = config, config.decoder_dim
        self.up = nn.Conv1d(2 * c.seanet.latent_dim, LAST_STRIDE * dim, 1)
        self.smooth = nn.Conv1d(dim, dim, 5, padding=2, groups=dim)
        self.before = nn.Sequential(*(FrameResBlock(dim, dropout=c.dropout) for _ in range(2)))
        self.transformer = _transformer(dim, c)
        self.after = nn.Sequential(*(FrameResBlock(dim, dropout=c.dropout) for _ in range(2)))
        self.norm_after = nn.GroupNorm(32, dim, eps=1e-6)
        self.norm_in = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.Sequential(
            *(
                ConvNeXtBlock1d(
                    dim, kernel_size=7, layer_scale=1 / c.decoder_blocks, causal=False, hidden=c.decoder_hidden
                )
                for _ in range(c.decoder_blocks)
            )
        )
        self.norm_out = nn.LayerNorm(dim, eps=1e-6)
        self.head = FourierHead(dim, window_samples=c.window_samples, hop_samples=c.hop_samples // LAST_STRIDE)

    def forward(self, z: Tensor) -> Tensor:
        """Decode: `[B, 2 D, L]` to `[B, 1, L * hop]`."""
        x = self.up(z).unflatten(1, (LAST_STRIDE, -1))  # [B, 2, D', L]: the frames that one position becomes
        x = self.smooth(x.permute(0, 2, 3, 1).flatten(2))  # [B, D', 2 L]
        x = self.norm_after(self.after(self.transformer(self.before(x))))
        x = self.blocks(self.norm_in(x.transpose(1, 2)).transpose(1, 2))
        return self.head(self.norm_out(x.transpose(1, 2)))[:, None]


class HCodec(FeatureTokenizer):
    """H-Codec; see the module's docstring. Ids depend on the whole clip, so clips are never cut into pieces.

    `features=` takes the speech model's features `[B, C, N]` with compressed magnitudes, two frames (the product of
    `semantic.strides`) for each position. Then clips are not padded with zeros; a partial last frame is padded by reflection.
    """

    family: ClassVar[str] = "hcodec"
    config_class: ClassVar[type] = HCodecConfig
    encoder_only = ("encoder", "semantic_encoder", "semantic_model")
    decoder_only = ("decoder", "semantic_decoder")

    def __init__(self, config: HCodecConfig) -> None:
        super().__init__()
        c, dim = config, config.seanet.latent_dim
        self.config = config
        self.encoder = HCodecEncoder(c)
        start_sound(self.encoder)
        self.semantic_encoder = FeatureEncoder(dim, c.semantic)
        self.quantizer: Dual = Dual(
            DualConfig(
                dim=2 * dim,
                first=dataclasses.replace(c.quantizer, dim=dim),
                second=dataclasses.replace(c.semantic_quantizer, dim=dim),
            )
        )
        self.decoder = HCodecDecoder(c)
        self.semantic_decoder = FeatureDecoder(dim, c.semantic)
        self.semantic_model = FrozenModel(c.semantic_model) if c.semantic_model else None
        self._published = NamedModel(c.semantic_name, {})
        acoustic, semantic = self.quantizer.first.num_codebooks, self.quantizer.second.num_codebooks
        self.spec = AudioSpec.of(
            self.quantizer,
            names=(*(f"acoustic {k}" for k in range(acoustic)), *(f"semantic {k}" for k in range(semantic))),
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
            semantic_dim=c.semantic.features,
        )

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's features `[B, C, N]`, magnitudes compressed, of clips `[B, 1, T]`, T a multiple of the hop."""
        c = self.config
        if c.sample_rate_hz != 16000 or c.hop_samples != SPEECH_HOP * math.prod(c.semantic.strides):
            raise ValueError(
                f"the speech model takes 16000 Hz and gives a frame every {SPEECH_HOP} samples; this codec has "
                f"{c.sample_rate_hz} Hz and positions of {c.hop_samples} samples. Pass `features=` to encode."
            )
        model = self.semantic_model or self._published.get(self.device, self.dtype)
        mean = model.mean_of_layers(F.pad(x[:, 0], (SPEECH_PAD, SPEECH_PAD)))
        return mean.sign() * mean.abs() ** SPEECH_POWER

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Latents `[B, 2 D, L]` of clips `[B, 1, T]`; if `features` `[B, C, N]` are given, clips are not padded with zeros."""
        if features is None:
            x = pad_to_hop(x, self.spec.hop_samples)
            features = self.speech_features(x)
        acoustic, semantic = self.encoder(x), self.semantic_encoder(features.to(self.dtype))
        if acoustic.shape[-1] != semantic.shape[-1]:
            raise ValueError(
                f"{acoustic.shape[-1]} positions of audio and {semantic.shape[-1]} of features: "
                "they do not belong together."
            )
        return torch.cat([acoustic, semantic], dim=1)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, 2 D, L]`."""
        return self.decoder(z_q)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The speech model's compressed features `[B, C, N]` as reconstructed from the semantic ids."""
        return self.semantic_decoder(self.vectors_of(ids)[:, self.config.seanet.latent_dim :])

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients, except for the frozen speech model.

        `Reconstruction.features` holds "semantic", the features `[B, C, N]` reconstructed from the semantic codebooks, and
        "semantic_target", the speech model's features.
        """
        given = x
        if features is None:
            given = pad_to_hop(x, self.spec.hop_samples)
            features = self.speech_features(given)
        z = self.encode_latents(given, features)
        quantized = self.quantizer(z)
        x_hat = self.to_length(self.decode_latents(quantized.z_q), x.shape[-1])
        decoded = self.semantic_decoder(quantized.z_q[:, self.config.seanet.latent_dim :])
        out = {"semantic": decoded, "semantic_target": features}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=out)
