"""SEANet: the convolutional encoder and decoder of SoundStream, EnCodec and the codecs that follow them.

Tagliasacchi et al. 2020, arXiv 2009.02095; SoundStream, arXiv 2107.03312; EnCodec, arXiv 2210.13438, section 3.1.

The encoder takes any number T of samples and returns ceil(T / hop) frames: the fixed padding of a strided layer is on the left
(causal), or on both sides with the larger half on the left; the right is padded further until the last window is full.

Streaming (causal): padding by reflection needs the first samples *after* the start, so a layer has no output until it has got
them; from then on it has no look-ahead. `needs(n)` is the number of inputs that a stream needs for its first n outputs.

Letters: B batch, C channels, T steps, L frames, D latent width, k kernel, d dilation, s stride.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from ..kernels.conv1d import Edge
from ..kernels.elu import ELU
from ..kernels.residual1d import Residual1d
from ..kernels.snake import Snake
from ..kernels.stream import Layer, layers_first, rows_first
from ..kernels.time_tiles import in_turn
from ..members import members
from ..precision import LSTM
from .causal import Conv1d, ConvTranspose1d, State, Streaming

#: Values of `SEANetConfig.padding`, which are the authors' -> values of `Conv1d`'s `edge`.
EDGES: dict[str, Edge] = {"reflect": "reflect", "constant": "zeros", "replicate": "replicate"}


@dataclass(frozen=True, kw_only=True)
class SEANetConfig:
    """Settings of `SEANetEncoder` and `SEANetDecoder`.

    Attributes:
        channels: number of channels of the waveform.
        latent_dim: D.
        width: number of channels at the rate of the waveform; each level doubles it.
        strides: down-sampling of each level, from the waveform to the frames; the decoder has the same in reverse order.
        residual_layers: number of residual units of each level.
        kernel_size: kernel of the first convolution of encoder and decoder.
        last_kernel_size: kernel of their last convolution.
        residual_kernel_size: kernel of the dilated convolution of a residual unit.
        dilation_base: the j-th unit of a level (from 0) has dilation `dilation_base ** j`.
        compress: the inner width of a residual unit is its outer width divided by this.
        identity_skip: whether a residual unit adds its input unchanged; False: after a convolution of kernel 1.
        lstm_layers: number of layers of the LSTM at frame rate, whose input is added to its output; 0: no LSTM.
        lstm_bidirectional: concatenate both directions, twice the width (SpeechTokenizer's encoder). Not causal.
        causal: no layer has look-ahead, except at the start for padding by reflection.
        padding: padding beyond the ends: "reflect", "constant" (zeros) or "replicate" (the first and last sample).
        norm: "group" normalises every convolution's output over channels and time (not causal). Weight norm is
            folded into the weights and therefore "none".
        unnormed_outer: with "group", the number of blocks next to the waveform that are not normalised.
        activation: activation between convolutions.
        slope: alpha of "elu", or the negative slope of "leaky_relu".
        final_activation: activation after the decoder's last convolution.
        trim_right: share of the k - s additional steps of a causal transposed convolution that is cut off on the right, in 0..1;
            1: no look-ahead.
    """

    channels: int = 1
    latent_dim: int = 128
    width: int = 32
    strides: tuple[int, ...] = (2, 4, 5, 8)
    residual_layers: int = 1
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_base: int = 2
    compress: int = 2
    identity_skip: bool = False
    lstm_layers: int = 2
    lstm_bidirectional: bool = False
    causal: bool = False
    padding: Literal["reflect", "constant", "replicate"] = "reflect"
    norm: Literal["none", "group"] = "none"
    unnormed_outer: int = 0
    activation: Literal["elu", "relu", "leaky_relu", "gelu", "silu", "tanh", "snake"] = "elu"
    slope: float = 1.0
    final_activation: Literal["none", "tanh", "sigmoid"] = "none"
    trim_right: float = 1.0

    def __post_init__(self) -> None:
        if self.causal and self.norm == "group":
            raise ValueError('norm = "group" averages over the whole signal; set causal = false or norm = "none".')
        if self.causal and self.lstm_bidirectional:
            raise ValueError("lstm_bidirectional depends on later frames; set causal = false.")
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"strides is {self.strides}; give at least one positive number.")
        if not 0 <= self.unnormed_outer <= len(self.strides) + 2:
            raise ValueError(f"unnormed_outer is {self.unnormed_outer}; there are {len(self.strides) + 2} blocks.")
        if not 0 <= self.trim_right <= 1 or (self.trim_right < 1 and not self.causal):
            raise ValueError(f"trim_right is {self.trim_right}; allowed: 0 to 1, and below 1 only with causal = true.")

    @property
    def hop_samples(self) -> int:
        """Number of samples for each frame, the product of the strides."""
        return math.prod(self.strides)

    @property
    def streamable(self) -> bool:
        """True where only the start has look-ahead, so that encoder and decoder can stream."""
        return self.causal and self.trim_right == 1

    def normed(self, block: int) -> bool:
        """Whether block 0 (at the waveform) to `len(strides) + 1` (at the latents) is normalised."""
        return self.norm == "group" and block >= self.unnormed_outer


def make_activation(config: SEANetConfig, channels: int) -> nn.Module:
    """A new module of the activation between convolutions, for `[B, channels, T]`."""
    return {
        "elu": lambda: ELU(alpha=config.slope),
        "leaky_relu": lambda: nn.LeakyReLU(negative_slope=config.slope),
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "tanh": nn.Tanh,
        "snake": lambda: Snake(channels),
    }[config.activation]()


class SEANetConv1d(Conv1d):
    """Convolution `[B, C, T]` to `[B, C', ceil(T / s)]`, padded as described at the top of the file, then normalised."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        config: SEANetConfig,
        *,
        stride: int = 1,
        dilation: int = 1,
        normed: bool = False,
    ) -> None:
        edge = EDGES[config.padding]
        settings = {"stride": stride, "dilation": dilation, "causal": config.causal, "edge": edge, "fill": True}
        super().__init__(in_channels, out_channels, kernel_size, **settings)
        self.norm = nn.GroupNorm(1, out_channels) if normed else None

    def _convolve(self, x: Tensor) -> Tensor:
        y = super()._convolve(x)
        return y if self.norm is None else self.norm(y)

    def _piece(self, x: Tensor, state: State) -> Tensor:
        if self.norm is not None:
            raise ValueError('norm = "group" averages over the whole signal: such layers do not stream.')
        return super()._piece(x, state)


class SEANetConvTranspose1d(ConvTranspose1d):
    """Transposed convolution `[B, C, T]` to `[B, C', T * s]`: convolve, normalise, cut off the k - s additional steps."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        config: SEANetConfig,
        *,
        stride: int,
        normed: bool = False,
    ) -> None:
        surplus = kernel_size - stride
        right = math.ceil(surplus * config.trim_right) if config.causal else surplus // 2
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, cuts=(surplus - right, right))
        self.norm = nn.GroupNorm(1, out_channels) if normed else None

    def _convolve(self, x: Tensor, tail: Tensor | None = None) -> Tensor:
        y = super()._convolve(x, tail)
        return y if self.norm is None else self.norm(y)


class SEANetLSTM(Streaming):
    """LSTM over the steps of `[B, C, T]`, plus its input; bidirectional: `[B, 2C, T]`, the input added to each direction."""

    def __init__(self, width: int, layers: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.lstm = LSTM(width, width, layers, bidirectional=bidirectional)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the LSTM to `[B, C, T]`; with `state`, to the next piece of a stream."""
        if x.shape[-1] == 0:
            return x
        x = x.permute(2, 0, 1)  # [T, B, C]
        y, last = self.lstm(x, None if state is None else layers_first(state.get(self)))
        if state is not None:
            state[self] = rows_first(last)
        skip = torch.cat([x, x], dim=-1) if self.lstm.bidirectional else x
        return (y + skip).permute(1, 2, 0)  # [B, C or 2C, T]


class SEANetUnit(Residual1d):
    """(activation, dilated convolution, activation, convolution of 1), and the input added; `[B, C, T]`."""

    def __init__(self, channels: int, dilation: int, config: SEANetConfig, *, normed: bool) -> None:
        super().__init__()
        inner = channels // config.compress
        self.act_in = make_activation(config, channels)
        self.conv_in = SEANetConv1d(channels, inner, config.residual_kernel_size, config, dilation=dilation, normed=normed)
        self.act_out = make_activation(config, inner)
        self.conv_out = SEANetConv1d(inner, channels, 1, config, normed=normed)
        self.skip = None if config.identity_skip else SEANetConv1d(channels, channels, 1, config, normed=normed)

    def branch(self) -> list[Layer]:
        """Layers of the residual branch, whose output is added to the input."""
        return [self.act_in, self.conv_in, self.act_out, self.conv_out]

    def needs(self, outputs: int) -> int:
        """Number of inputs that a stream needs for its first `outputs` outputs."""
        return self.conv_in.needs(self.conv_out.needs(outputs))


class SEANetDown(Streaming):
    """One level of the encoder: residual units, activation, strided convolution; `[B, C, T]` to `[B, 2C, T / s]`."""

    def __init__(self, level: int, config: SEANetConfig) -> None:
        super().__init__()
        width, stride, normed = config.width * 2**level, config.strides[level], config.normed(level + 1)
        self.units = nn.ModuleList(
            SEANetUnit(width, config.dilation_base**j, config, normed=normed) for j in range(config.residual_layers)
        )
        self.act = make_activation(config, width)
        self.conv = SEANetConv1d(width, 2 * width, 2 * stride, config, stride=stride, normed=normed)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the level to `[B, C, T]`; with `state`, to the next piece of a stream."""
        for unit in self.units:
            x = unit(x, state)
        return self.conv(self.act(x), state)

    def needs(self, outputs: int) -> int:
        """Number of inputs that a stream needs for its first `outputs` outputs."""
        return _chain_needs([*members(self.units, SEANetUnit), self.conv], outputs)


class SEANetUp(Streaming):
    """One level of the decoder: activation, transposed convolution, residual units; `[B, 2C, T]` to `[B, C, T * s]`."""

    def __init__(self, level: int, config: SEANetConfig) -> None:
        super().__init__()
        width, stride, normed = config.width * 2**level, config.strides[level], config.normed(level + 1)
        self.act = make_activation(config, 2 * width)
        self.conv = SEANetConvTranspose1d(2 * width, width, 2 * stride, config, stride=stride, normed=normed)
        self.units = nn.ModuleList(
            SEANetUnit(width, config.dilation_base**j, config, normed=normed) for j in range(config.residual_layers)
        )

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the level to `[B, 2C, T]`; with `state`, to the next piece of a stream."""
        x = self.conv(self.act(x), state)
        for unit in self.units:
            x = unit(x, state)
        return x

    def needs(self, outputs: int) -> int:
        """Number of inputs that a stream needs for its first `outputs` outputs."""
        return _chain_needs([self.conv, *members(self.units, SEANetUnit)], outputs)


class SEANetEncoder(Streaming):
    """Encoder from waveforms `[B, C, T]`, any T, to latents `[B, D, ceil(T / hop)]`."""

    def __init__(self, config: SEANetConfig) -> None:
        super().__init__()
        self.config = config
        c, top = config, config.width * 2 ** len(config.strides)
        self.stem = SEANetConv1d(c.channels, c.width, c.kernel_size, c, normed=c.normed(0))
        self.levels = nn.ModuleList(SEANetDown(level, c) for level in range(len(c.strides)))
        self.lstm = SEANetLSTM(top, c.lstm_layers, bidirectional=c.lstm_bidirectional) if c.lstm_layers else None
        top = top * 2 if c.lstm_bidirectional else top
        self.act = make_activation(c, top)
        self.head = SEANetConv1d(top, c.latent_dim, c.last_kernel_size, c, normed=c.normed(len(c.strides) + 1))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Encode waveforms `[B, C, T]` to latents `[B, D, ceil(T / hop)]`; with `state`, the next piece of a stream."""
        x = in_turn([self.stem, *self.levels], x, state)
        x = x if self.lstm is None else self.lstm(x, state)
        return self.head(self.act(x), state)

    def needs(self, frames: int) -> int:
        """Number of samples that a stream needs for its first `frames` frames."""
        return _chain_needs([self.stem, *members(self.levels, SEANetDown), self.head], frames)


class SEANetDecoder(Streaming):
    """Decoder from latents `[B, D, L]` to waveforms `[B, C, L * hop]`; `lstm_bidirectional` does not apply to it."""

    def __init__(self, config: SEANetConfig) -> None:
        super().__init__()
        self.config = config
        c, top = config, config.width * 2 ** len(config.strides)
        self.stem = SEANetConv1d(c.latent_dim, top, c.kernel_size, c, normed=c.normed(len(c.strides) + 1))
        self.lstm = SEANetLSTM(top, c.lstm_layers) if c.lstm_layers else None
        self.levels = nn.ModuleList(SEANetUp(level, c) for level in reversed(range(len(c.strides))))
        self.act = make_activation(c, c.width)
        self.head = SEANetConv1d(c.width, c.channels, c.last_kernel_size, c, normed=c.normed(0))
        self.final = {"none": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[c.final_activation]()

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        """Decode latents `[B, D, L]` to waveforms `[B, C, L * hop]`; with `state`, the next piece of a stream."""
        x = self.stem(z, state)
        x = x if self.lstm is None else self.lstm(x, state)
        return in_turn([*self.levels, self.act, self.head, self.final], x, state)

    def needs(self, samples: int) -> int:
        """Number of frames that a stream needs for its first `samples` samples."""
        return _chain_needs([self.stem, *members(self.levels, SEANetUp), self.head], samples)


def stream_latency(encoder: SEANetEncoder, decoder: SEANetDecoder, hop: int) -> int:
    """Latency of a stream in samples: look-ahead beyond the first sample, in whole frames, of the first decoded sample."""
    waits = encoder.needs(decoder.needs(1))
    return -(-waits // hop) * hop - 1


class _Needs(Protocol):
    def needs(self, outputs: int, /) -> int: ...


def _chain_needs(layers: Sequence[_Needs], outputs: int) -> int:
    for layer in reversed(layers):
        outputs = layer.needs(outputs)
    return outputs
