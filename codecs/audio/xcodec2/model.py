"""X-codec2 and NeuCodec: one codebook of 65536 entries over convolutional and w2v-BERT 2.0 features side by side.

X-codec2: Ye et al. 2025, "Llasa: Scaling Train-Time and Inference-Time Compute for Llama-based Speech Synthesis", arXiv
2502.04128. NeuCodec: Julian et al. 2025, "Finite Scalar Quantization Enables Redundant and Transmission-Robust Neural Audio
Compression at Low Bit-rates", arXiv 2509.09550. Parity was checked against zhenye234/X-Codec-2.0 @ e5d3b26 (MIT),
neuphonic/neucodec @ 2454f32 (Apache-2.0) and the classes of transformers 5.23 (Apache-2.0).

Two encoders run on a clip `[B, 1, T]`: BigCodec's convolutions, and a frozen w2v-BERT 2.0 with a convolutional adapter. Their
outputs are concatenated and mapped to latents `[B, D, L]`, 50 a second. Finite scalar quantization projects each to 8 numbers of
4 values: one id of 4^8 = 65536, `[B, 1, L]`. A transformer decodes at frame rate; the inverse short-time Fourier transform returns
`[B, 1, L * hop_out]`, at 16 kHz (X-codec2) or 24 kHz (NeuCodec).

`encode` computes the speech model's features unless `features=` is given; then waveform and features are used without padding.

Letters: B batch, T samples, L token positions, D latent width, C channels of the speech features.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.speech_features import FBANK_HOP, FBANK_WINDOW, FrozenModel, stacked_fbanks
from ...layers.transformer1d import Transformer1d, Transformer1dConfig
from ...layers.vocos import FourierHead, FrameResBlock
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_fsq import ResidualFSQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..bigcodec.model import BigCodecConfig, BigCodecEncoder
from ..features import FeatureTokenizer
from ..start import start_sound

_QUANTIZER = ResidualFSQConfig(levels=(4,) * 8, num_codebooks=1, convention="fsq", project=True)


@dataclass(frozen=True, kw_only=True)
class XCodec2Config:
    """Settings of `XCodec2`; the defaults are X-codec2's.

    Attributes:
        sample_rate_hz: rate of the input waveform.
        hop_out_samples: output samples of each token position; 480 in NeuCodec, whose output has 24 kHz.
        width: channels of the convolutional encoder at the waveform's rate; each level doubles them.
        strides: down-sampling of each of its levels, from the waveform to the frames.
        dilations: dilation of each residual unit of a level.
        acoustic_dim: its output channels.
        semantic_model: configuration of the speech model in the terms of transformers, whose weights are part of this
            model; empty: the published model `semantic_name` is loaded from the hub when it is first needed.
        semantic_name: name of the published speech model.
        semantic_layers: number of its layers that run; the output of the last is the features.
        semantic_in, semantic_width, semantic_dim: channels of the adapter's input (the features), hidden layers and output.
        semantic_kernel: kernel size of the adapter's convolutions.
        semantic_bias: whether the adapter's two hidden convolutions have a bias.
        pad_features: pad a clip with half a hop of zeros on both sides before the speech model (X-codec2; not NeuCodec).
        quantizer: settings of any quantizer; its `dim` is filled in.
        latent_dim: D, channels of the latents; linear maps lead from both encoders to D and from D to the decoder.
        decoder_dim: width of the decoder.
        layers, heads: number of layers and of attention heads of the decoder's transformer.
        feed_forward: hidden width of its feed-forward layers; 0: four times `decoder_dim`.
        attention_bias: whether its attention has biases.
        norm_eps: epsilon of its norms.
        dropout: probability of dropout in the decoder's residual blocks.
    """

    sample_rate_hz: int = 16000
    hop_out_samples: int = 320
    width: int = 48
    strides: tuple[int, ...] = (2, 2, 4, 4, 5)
    dilations: tuple[int, ...] = (1, 3, 9)
    acoustic_dim: int = 1024
    semantic_model: Mapping[str, Any] = field(default_factory=dict)
    semantic_name: str = "facebook/w2v-bert-2.0"
    semantic_layers: int = 16
    semantic_in: int = 1024
    semantic_width: int = 1024
    semantic_dim: int = 1024
    semantic_kernel: int = 3
    semantic_bias: bool = True
    pad_features: bool = True
    quantizer: QuantizerConfig = _QUANTIZER
    latent_dim: int = 2048
    decoder_dim: int = 1024
    layers: int = 12
    heads: int = 16
    feed_forward: int = 0
    attention_bias: bool = False
    norm_eps: float = 1e-6
    dropout: float = 0.1

    @property
    def hop_samples(self) -> int:
        """Input samples from one token position to the next."""
        return math.prod(self.strides)


class SemanticAdapter(nn.Module):
    """Convolution, a residual pair of convolutions, convolution, over speech features `[B, semantic_in, N]`."""

    def __init__(self, config: XCodec2Config) -> None:
        super().__init__()
        c, pad = config, (config.semantic_kernel - 1) // 2
        k, inner = c.semantic_kernel, c.semantic_width
        self.conv_in = nn.Conv1d(c.semantic_in, inner, k, padding=pad, bias=False)
        self.conv1 = nn.Conv1d(inner, inner, k, padding=pad, bias=c.semantic_bias)
        self.conv2 = nn.Conv1d(inner, inner, k, padding=pad, bias=c.semantic_bias)
        self.conv_out = nn.Conv1d(inner, c.semantic_dim, k, padding=pad, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt features `[B, semantic_in, N]` to `[B, semantic_dim, N]`."""
        x = F.relu(self.conv_in(x))  # also on the skip: the authors' activation works in place
        return self.conv_out(x + self.conv2(F.relu(self.conv1(x))))


class XCodec2Decoder(nn.Module):
    """`[B, D, L]` to `[B, 1, L * hop_out]`: residual blocks, transformer, residual blocks, inverse Fourier transform.

    Differs: the authors' rotary embedding rotates queries and keys by the index of their head instead of their position. Query
    and key of a head are rotated by the same angle, which changes no attention score, so there is no rotation here; the
    convolutions alone carry positions.
    """

    def __init__(self, config: XCodec2Config) -> None:
        super().__init__()
        c, width = config, config.decoder_dim
        self.proj = nn.Linear(c.latent_dim, width)
        self.embed = nn.Conv1d(width, width, 7, padding=3)
        self.before = nn.Sequential(*(FrameResBlock(width, dropout=c.dropout) for _ in range(2)))
        self.transformer = Transformer1d(
            Transformer1dConfig(
                width=width,
                layers=c.layers,
                heads=c.heads,
                feed_forward=c.feed_forward or 4 * width,
                activation="silu",
                context=None,
                causal=False,
                norm="rms",
                norm_eps=c.norm_eps,
                layer_scale=None,
                rope_period=None,
                bias=c.attention_bias,
            )
        )
        self.after = nn.Sequential(*(FrameResBlock(width, dropout=c.dropout) for _ in range(2)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = FourierHead(width, window_samples=4 * c.hop_out_samples, hop_samples=c.hop_out_samples)

    def backbone(self, z: Tensor) -> Tensor:
        """Input of the head, `[B, L, width]`, from latents `[B, D, L]`."""
        x = self.embed(self.proj(z.transpose(1, 2)).transpose(1, 2))
        return self.norm(self.after(self.transformer(self.before(x))).transpose(1, 2))

    def forward(self, z: Tensor) -> Tensor:
        """Decode: `[B, D, L]` to `[B, 1, L * hop_out]`."""
        return self.head(self.backbone(z))[:, None]


class XCodec2(FeatureTokenizer):
    """Speech codec with one codebook; see the module's docstring. Ids depend on the whole clip, so clips are never cut into pieces.

    Without `features=` a clip is padded with at least one zero, to whole frames, as published. So X-codec2 returns an additional
    frame for a clip of exactly whole frames; NeuCodec, whose speech model returns one frame less, drops a partial last frame.
    """

    family: ClassVar[str] = "xcodec2"
    config_class: ClassVar[type] = XCodec2Config
    encoder_only = ("encoder", "semantic_model", "adapter", "join", "quantizer.in_proj")
    decoder_only = ("decoder", "quantizer.out_proj")

    def __init__(self, config: XCodec2Config) -> None:
        super().__init__()
        c = config
        self.config = config
        self.encoder = BigCodecEncoder(
            BigCodecConfig(
                strides=c.strides,
                encoder_width=c.width,
                decoder_width=2 ** len(c.strides),  # not used
                dilations=c.dilations,
                encoder_lstm_layers=0,
                latent_dim=c.acoustic_dim,
            )
        )
        start_sound(self.encoder)
        self.semantic_model = FrozenModel(c.semantic_model) if c.semantic_model else None
        self._loaded: list[FrozenModel] = []  # a list: a model from the hub is no part of this one's weights
        self.adapter = SemanticAdapter(c)
        self.join = nn.Linear(c.semantic_dim + c.acoustic_dim, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.decoder = XCodec2Decoder(c)
        if c.sample_rate_hz * c.hop_out_samples % c.hop_samples:
            raise ValueError(
                f"the output rate {c.sample_rate_hz} * {c.hop_out_samples} / {c.hop_samples} Hz is not a whole number; "
                "change hop_out_samples or strides."
            )
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=c.sample_rate_hz,
            output_rate_hz=c.sample_rate_hz * c.hop_out_samples // c.hop_samples,
            hop_samples=c.hop_samples,
        )

    # --- features ---------------------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples that is encoded without `features=`."""
        frames = samples // self.spec.hop_samples + 1
        return frames if self.config.pad_features else max(1, frames - 1)

    def _padded(self, x: Tensor) -> Tensor:
        hop = self.spec.hop_samples
        frames = x.shape[-1] // hop + 1
        frames = frames if self.config.pad_features else max(2, frames)  # the window of one frame of features
        return F.pad(x, (0, frames * hop - x.shape[-1]))

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's features `[B, C, N]` of clips `[B, 1, T]` at 16 kHz, T a whole number of frames."""
        c = self.config
        if c.sample_rate_hz != 16000 or c.hop_samples != 2 * FBANK_HOP:
            raise ValueError(
                f"features can be computed at 16 kHz and a hop of {2 * FBANK_HOP} samples; this codec has "
                f"{c.sample_rate_hz} Hz and {c.hop_samples}. Pass `features=` to encode."
            )
        if c.pad_features:
            x = F.pad(x, (FBANK_HOP, FBANK_HOP))
        assert x.shape[-1] >= FBANK_WINDOW
        fbanks = torch.stack([stacked_fbanks(clip[0].float()) for clip in x])  # [B, N, 160]
        return self._speech_model()(fbanks.to(self.dtype))

    def _speech_model(self) -> FrozenModel:
        if self.semantic_model is not None:
            return self.semantic_model
        if not self._loaded:
            c = self.config
            self._loaded.append(FrozenModel.pretrained(c.semantic_name, num_hidden_layers=c.semantic_layers))
        return self._loaded[0].to(self.device, self.dtype)

    # --- contract ---------------------------------------------------------------------------------------------------

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, 1, T]`; if `features` `[B, C, N]` are given, clips are not padded."""
        if features is None:
            x = self._padded(x)
            features = self.speech_features(x)
        acoustic, semantic = self.encoder(x), self.adapter(features.to(self.dtype))
        length = min(acoustic.shape[-1], semantic.shape[-1])
        joined = torch.cat([semantic[..., :length], acoustic[..., :length]], dim=1)  # [B, C, L]
        return self.join(joined.transpose(1, 2)).transpose(1, 2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop_out]` of latents `[B, D, L]`."""
        return self.decoder(z_q)

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients, except for the frozen speech model.

        `Reconstruction.features` holds "semantic", the quantized latents `[B, D, L]`, and "semantic_target", the speech
        features `[B, C, L]` that the authors' training reconstructs from them.
        """
        given = x
        if features is None:
            given = self._padded(x)
            features = self.speech_features(given)
        z = self.encode_latents(given, features)
        quantized = self.quantizer(z)
        length = -(-x.shape[-1] * self.spec.decoded_rate_hz // self.spec.sample_rate_hz)
        x_hat = self.to_length(self.decode_latents(quantized.z_q), length)
        out = {"semantic": quantized.z_q, "semantic_target": features[..., : z.shape[-1]]}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=out)
