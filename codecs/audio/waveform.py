"""A codec on the waveform itself: strided residual convolutions to frames, any quantizer, and transposed convolutions back.

Modelled on SoundStream (Zeghidour et al. 2021, arXiv 2107.03312) and DAC (Kumar et al. 2023, arXiv 2306.06546); `causal`
makes all layers causal. Own architecture and weights; published EnCodec and DAC checkpoints load as the families `encodec`, `dac`.

Letters: B batch, C channels, T samples, L = T / hop frames, D latent width.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from ..kernels.elu import ELU
from ..kernels.residual1d import Residual1d
from ..kernels.snake import Snake
from ..kernels.time_tiles import in_turn
from ..layers.causal import Chain, Conv1d, ConvTranspose1d
from ..quantizers.base import QuantizerConfig
from ..quantizers.residual_vq import ResidualVQConfig
from ..spec import AudioSpec
from .base import AudioTokenizer, pad_to_hop
from .normalize import RMSNormalizer
from .stream import AudioStream


@dataclass(frozen=True, kw_only=True)
class WaveformConfig:
    """Settings of `WaveformCodec`.

    Attributes:
        sample_rate_hz: rate of the waveform.
        channels: 1 or 2.
        strides: down-sampling of each level; their product is the hop.
        width: channels of the first level; each next level has twice as many.
        max_width: no level has more channels than this.
        dilations: dilation of each residual unit of a level.
        activation: "snake" (periodic, Ziyin et al. 2020, arXiv 2006.08195) or "elu".
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer; its `dim` is filled in.
        causal: no layer looks ahead; the codec streams with a latency of one frame.
        normalize: "rms" brings every clip to one loudness and keeps the factor in `Tokens.scale`. Not causal.
    """

    sample_rate_hz: int = 16000
    channels: int = 1
    strides: tuple[int, ...] = (2, 4, 5, 8)
    width: int = 32
    max_width: int = 512
    dilations: tuple[int, ...] = (1, 3, 9)
    activation: Literal["snake", "elu"] = "snake"
    latent_dim: int = 128
    quantizer: QuantizerConfig = ResidualVQConfig(num_codebooks=8)
    causal: bool = False
    normalize: Literal["none", "rms"] = "none"

    def __post_init__(self) -> None:
        if self.causal and self.normalize != "none":
            raise ValueError('normalize must be "none" in a causal codec: the loudness of the future is not known.')

    @property
    def hop_samples(self) -> int:
        """Hop: number of samples for each frame."""
        return math.prod(self.strides)

    def level_width(self, level: int) -> int:
        """Channels of a level, 0 being the waveform's own rate."""
        return min(self.width * 2**level, self.max_width)


def _activation(kind: str, channels: int) -> nn.Module:
    return Snake(channels) if kind == "snake" else ELU()


class ResidualUnit(Residual1d):
    """Activation, dilated convolution (kernel 7), activation, convolution (kernel 1), and the input added; `[B, C, T]`."""

    def __init__(self, channels: int, dilation: int, config: WaveformConfig) -> None:
        super().__init__()
        self.body = Chain(
            _activation(config.activation, channels),
            Conv1d(channels, channels, 7, dilation=dilation, causal=config.causal),
            _activation(config.activation, channels),
            Conv1d(channels, channels, 1, causal=config.causal),
        )

    def branch(self) -> list[nn.Module]:
        """The layers whose output is added to the input."""
        return list(self.body)


def _units(level: int, config: WaveformConfig) -> list[nn.Module]:
    return [ResidualUnit(config.level_width(level), d, config) for d in config.dilations]


def build_encoder(config: WaveformConfig) -> Chain:
    """The encoder's layers: waveforms `[B, C, T]` to latents `[B, D, T / hop]`."""
    c = config
    layers: list[nn.Module] = [Conv1d(c.channels, c.width, 7, causal=c.causal)]
    for level, stride in enumerate(c.strides):
        low, high = c.level_width(level), c.level_width(level + 1)
        layers += _units(level, c)
        layers += [_activation(c.activation, low), Conv1d(low, high, 2 * stride, stride=stride, causal=c.causal)]
    top = c.level_width(len(c.strides))
    return Chain(*layers, _activation(c.activation, top), Conv1d(top, c.latent_dim, 3, causal=c.causal))


def build_decoder(config: WaveformConfig) -> Chain:
    """The decoder's layers: latents `[B, D, L]` to waveforms `[B, C, L * hop]`."""
    c = config
    layers: list[nn.Module] = [Conv1d(c.latent_dim, c.level_width(len(c.strides)), 7, causal=c.causal)]
    for level, stride in reversed(list(enumerate(c.strides))):
        low, high = c.level_width(level), c.level_width(level + 1)
        layers += [_activation(c.activation, high), ConvTranspose1d(high, low, 2 * stride, stride=stride, causal=c.causal)]
        layers += _units(level, c)
    return Chain(*layers, _activation(c.activation, c.width), Conv1d(c.width, c.channels, 7, causal=c.causal))


class WaveformCodec(RMSNormalizer, AudioTokenizer):
    """Convolutional waveform codec; see the module's docstring."""

    family: ClassVar[str] = "waveform"
    config_class: ClassVar[type] = WaveformConfig

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        self.quantizer = config.quantizer.build(dim=config.latent_dim)
        self.decoder = build_decoder(config)
        self.context_frames = self.encoder_context_frames = _context(config)
        self.spec = AudioSpec.of(
            self.quantizer,
            channels=config.channels,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=config.hop_samples,
            causal=config.causal,
            latency_samples=config.hop_samples - 1 if config.causal else 0,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of `[B, C, T]`."""
        return in_turn([self.encoder], pad_to_hop(x, self.spec.hop_samples))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`."""
        return in_turn([self.decoder], z_q)

    def stream(self) -> AudioStream:
        """Start a stream; its outputs, joined, equal those for the whole clip. Only where `spec.causal`."""
        return AudioStream(self, encode=self.encoder, decode=self.decoder)


def _context(config: WaveformConfig) -> int:
    """Frames that one frame (or sample) depends on, on each side: the reach of all convolutions, in samples, over hop."""
    units = 6 * sum(config.dilations)  # a kernel of 7 reaches 6 dilated steps in all
    step, encoder = 1, 6
    for stride in config.strides:
        encoder += units * step + 2 * stride * step
        step *= stride
    encoder += 2 * step
    decoder = encoder + 4 * step  # a kernel of 7 instead of 3 at frame rate; the rest mirrors the encoder
    return -(-decoder // step) + 1
