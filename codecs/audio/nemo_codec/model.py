"""NeMo's audio codecs: HiFi-GAN, its mirror image as encoder, and grouped finite scalar quantization between them.

Casanova et al. 2024, "Low Frame-rate Speech Codec: a Codec Designed for Fast High-quality Speech LLM Training and Inference", arXiv
2409.12117; Casanova et al. 2025, "NanoCodec: Towards High-Quality Ultra Fast Speech LLM Inference", arXiv 2508.05835. Parity was
checked against NVIDIA-NeMo/NeMo @ 8cfedd7203 (Apache-2.0).

Strided convolutions with residual units encode `[B, 1, T]` to latents `[B, D, L]`, one for every hop (256 samples: 86 a second at
22.05 kHz). Their channels are cut into groups, and finite scalar quantization turns each group into one id: `[B, K, L]`, K groups.
The decoder, HiFi-GAN's generator, returns `[B, 1, L * hop]` in -1..1.

Encoder and decoder are each causal (zeros before the start) or centred (both ends padded by reflection); if both are causal, the
codec streams.

Letters: B batch, C channels, T samples or steps, D latent width, L positions (frames), s stride, k kernel, d dilation.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.elu import ELU
from ...kernels.snake import Snake
from ...layers.causal import Conv1d, ConvTranspose1d, State, Streaming
from ...layers.seanet import EDGES
from ...members import members
from ...quantizers.base import QuantizerConfig
from ...quantizers.grouped_fsq import GroupedFSQConfig
from ...recomputable import Recomputable
from ...spec import AudioSpec
from ..base import AudioTokenizer, pad_to_hop
from ..start import start_sound
from ..stream import Streamable

Activation = Literal["leaky_relu", "elu", "snake", "half_snake"]


@dataclass(frozen=True, kw_only=True)
class NemoSideConfig:
    """Settings of the encoder or the decoder.

    Attributes:
        strides: down-sampling (encoder) or up-sampling (decoder) of each level, in the order in which the levels run.
        width: channels of the first convolution; each level doubles (encoder) or halves (decoder) them.
        kernel_in, kernel_out: kernel sizes of the first and of the last convolution.
        unit_kernels: kernel size of each of the parallel residual branches of a level, whose outputs are averaged.
        unit_dilations: dilations of the units of each branch.
        activation: activation between convolutions.
        causal: no layer looks ahead.
        edge: padding where `causal` is False; causal layers are padded with zeros.
        grouped: grouped transposed convolutions, which compute each output channel from two input channels.
    """

    strides: tuple[int, ...] = (2, 2, 8, 8)
    width: int = 32
    kernel_in: int = 7
    kernel_out: int = 7
    unit_kernels: tuple[int, ...] = (3, 7, 11)
    unit_dilations: tuple[int, ...] = (1, 3, 5)
    activation: Activation = "leaky_relu"
    causal: bool = False
    edge: Literal["reflect", "constant", "replicate"] = "reflect"
    grouped: bool = False

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 2:
            raise ValueError(f"strides is {self.strides}; give at least one number above 1.")
        if any(k % 2 == 0 for k in (self.kernel_in, self.kernel_out, *self.unit_kernels)):
            raise ValueError("kernel_in, kernel_out and unit_kernels must be odd.")


@dataclass(frozen=True, kw_only=True)
class NemoCodecConfig:
    """Settings of `NemoCodec`; the defaults are the 22.05 kHz, 86 Hz model's sizes.

    Attributes:
        sample_rate_hz: rate of the waveform.
        encoder, decoder: settings of the encoder and of the decoder.
        output: how the waveform is limited to -1..1: "tanh" or "clamp".
        quantizer: settings of any quantizer; its `dim` is filled in.
        latent_dim: D, channels of the latents; 0: the number that a grouped FSQ needs.
    """

    sample_rate_hz: int = 22050
    encoder: NemoSideConfig = NemoSideConfig()
    decoder: NemoSideConfig = NemoSideConfig(strides=(8, 8, 2, 2), width=512, kernel_out=3)
    output: Literal["tanh", "clamp"] = "tanh"
    quantizer: QuantizerConfig = GroupedFSQConfig(num_groups=8, levels=(8, 5, 5, 5))
    latent_dim: int = 0

    def __post_init__(self) -> None:
        if math.prod(self.encoder.strides) != math.prod(self.decoder.strides):
            raise ValueError(f"strides {self.encoder.strides} and {self.decoder.strides} give other hops.")
        if self.decoder.width % 2 ** len(self.decoder.strides):
            raise ValueError(f"decoder.width is {self.decoder.width}; it is halved {len(self.decoder.strides)} times.")
        if not self.latent_dim and not isinstance(self.quantizer, GroupedFSQConfig):
            raise ValueError("latent_dim is 0; give the width of the latents, which only a grouped FSQ fixes.")

    @property
    def dim(self) -> int:
        """D, number of channels of the latents."""
        if self.latent_dim or not isinstance(self.quantizer, GroupedFSQConfig):
            return self.latent_dim
        return self.quantizer.num_groups * len(self.quantizer.levels)


def _conv(in_channels: int, out_channels: int, kernel: int, c: NemoSideConfig, *, stride: int = 1, dilation: int = 1) -> Conv1d:
    if c.causal:
        return Conv1d(in_channels, out_channels, kernel, stride=stride, dilation=dilation, causal=True)
    return Conv1d(in_channels, out_channels, kernel, stride=stride, dilation=dilation, edge=EDGES[c.edge])


class HalfSnake(nn.Module):
    """`Snake` on the first half of the channels of `[B, C, T]`, a leaky ReLU on the others (NanoCodec)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.snake = Snake(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation: `[B, C, T]` to the same shape."""
        half = x.shape[1] // 2
        return torch.cat([self.snake(x[:, :half]), F.leaky_relu(x[:, half:])], dim=1)


def _activation(kind: Activation, channels: int) -> nn.Module:
    if kind in ("snake", "half_snake"):
        return Snake(channels) if kind == "snake" else HalfSnake(channels)
    return ELU() if kind == "elu" else nn.LeakyReLU()


def mask_of(lengths: Tensor | None, steps: int) -> Tensor | None:
    """Bool `[B, 1, T]`, True for the first `lengths` `[B]` steps of each item; None without lengths."""
    if lengths is None:
        return None
    return (torch.arange(steps, device=lengths.device) < lengths[:, None])[:, None]


def _masked(x: Tensor, lengths: Tensor | None) -> Tensor:
    mask = mask_of(lengths, x.shape[-1])
    return x if mask is None else x * mask


class NemoUnit(Streaming, Recomputable):
    """Activation, dilated convolution, activation, convolution, and the input added; `[B, C, T]`."""

    def __init__(self, channels: int, kernel: int, dilation: int, c: NemoSideConfig) -> None:
        super().__init__()
        self.act_in = _activation(c.activation, channels)
        self.conv_in = _conv(channels, channels, kernel, c, dilation=dilation)
        self.act_out = _activation(c.activation, channels)
        self.conv_out = _conv(channels, channels, kernel, c)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Tensor:
        """Apply the unit: `[B, C, T]` to the same shape."""
        y = _masked(self.conv_in(self.act_in(x), state), lengths)
        return x + _masked(self.conv_out(self.act_out(y), state), lengths)


class NemoUnits(Streaming):
    """Mean of parallel branches of residual units, one branch for each kernel size; `[B, C, T]`."""

    def __init__(self, channels: int, c: NemoSideConfig) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.ModuleList(NemoUnit(channels, k, d, c) for d in c.unit_dilations) for k in c.unit_kernels)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Tensor:
        """Mean of all branches, `[B, C, T]` to the same shape."""
        total: Tensor | None = None
        for branch in members(self.branches, nn.ModuleList):
            y = x
            for unit in branch:
                y = unit(y, state, lengths)
            total = y if total is None else total + y
        assert total is not None
        return total / len(self.branches)


class NemoDown(Streaming):
    """One level of the encoder: units, activation, strided convolution; `[B, C, T]` to `[B, 2 C, T / s]`."""

    def __init__(self, channels: int, stride: int, c: NemoSideConfig) -> None:
        super().__init__()
        self.units = NemoUnits(channels, c)
        self.act = _activation(c.activation, channels)
        self.conv = _conv(channels, 2 * channels, 2 * stride, c, stride=stride)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Tensor:
        """Apply the level: `[B, C, T]` to `[B, 2 C, T / s]`; `lengths` `[B]` are those of `x`."""
        x = self.act(self.units(x, state, lengths))
        shorter = None if lengths is None else lengths // self.conv.stride[0]
        return _masked(self.conv(x, state), shorter)


class NemoUp(Streaming):
    """One level of the decoder: activation, transposed convolution, units; `[B, C, T]` to `[B, C / 2, T * s]`."""

    def __init__(self, channels: int, stride: int, c: NemoSideConfig) -> None:
        super().__init__()
        half = channels // 2
        groups = half if c.grouped else 1
        self.act = _activation(c.activation, channels)
        self.conv = ConvTranspose1d(channels, half, 2 * stride, stride=stride, groups=groups, causal=c.causal)
        self.units = NemoUnits(half, c)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Tensor:
        """Apply the level: `[B, C, T]` to `[B, C / 2, T * s]`; `lengths` `[B]` are those of `x`."""
        longer = None if lengths is None else lengths * self.conv.stride[0]
        x = _masked(self.conv(self.act(x), state), longer)
        return self.units(x, state, longer)


class NemoEncoder(Streaming):
    """Waveforms `[B, 1, T]`, T a multiple of the hop, to latents `[B, D, T / hop]`."""

    def __init__(self, dim: int, c: NemoSideConfig) -> None:
        super().__init__()
        self.stem = _conv(1, c.width, c.kernel_in, c)
        self.levels = nn.ModuleList(NemoDown(c.width * 2**i, s, c) for i, s in enumerate(c.strides))
        top = c.width * 2 ** len(c.strides)
        self.act = _activation(c.activation, top)
        self.head = _conv(top, dim, c.kernel_out, c)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Tensor:
        """Encode `[B, 1, T]` to `[B, D, T / hop]`; with `lengths` `[B]` in samples every layer's output after an item's end is zero."""
        x = _masked(self.stem(x, state), lengths)
        for level in members(self.levels, NemoDown):
            x = level(x, state, lengths)
            lengths = None if lengths is None else lengths // level.conv.stride[0]
        return _masked(self.head(self.act(x), state), lengths)


class NemoDecoder(Streaming):
    """Latents `[B, D, L]` to waveforms `[B, 1, L * hop]`, in -1..1."""

    def __init__(self, dim: int, output: str, c: NemoSideConfig) -> None:
        super().__init__()
        self.stem = _conv(dim, c.width, c.kernel_in, c)
        self.levels = nn.ModuleList(NemoUp(c.width // 2**i, s, c) for i, s in enumerate(c.strides))
        low = c.width // 2 ** len(c.strides)
        self.act = _activation(c.activation, low)
        self.head = _conv(low, 1, c.kernel_out, c)
        self.output = output

    def forward(self, z: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Tensor:
        """Decode `[B, D, L]` to `[B, 1, L * hop]`; with `lengths` `[B]` in frames every layer's output after an item's end is zero."""
        x = _masked(self.stem(z, state), lengths)
        for level in members(self.levels, NemoUp):
            x = level(x, state, lengths)
            lengths = None if lengths is None else lengths * level.conv.stride[0]
        x = _masked(self.head(self.act(x), state), lengths)
        return torch.tanh(x) if self.output == "tanh" else F.hardtanh(x)


class NemoCodec(Streamable, AudioTokenizer):
    """NeMo's audio codecs; see the module's docstring. It streams if encoder and decoder are causal.

    Differs: the authors batch clips of different lengths and set every layer's output after a clip's end to zero, so that ids near
    an end that is padded by reflection depend on the batch. `encode` batches only clips of equal length, and each gets the ids that
    it would get alone; `encode_ragged` and `decode_ragged` do as the authors.
    """

    family: ClassVar[str] = "nemo_codec"
    config_class: ClassVar[type] = NemoCodecConfig

    def __init__(self, config: NemoCodecConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.encoder = NemoEncoder(c.dim, c.encoder)
        self.quantizer = c.quantizer.build(dim=c.dim)
        self.decoder = NemoDecoder(c.dim, c.output, c.decoder)
        start_sound(self.encoder, self.decoder)
        hop, causal = math.prod(c.encoder.strides), c.encoder.causal and c.decoder.causal
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=hop,
            causal=causal,
            latency_samples=hop - 1 if causal else 0,
        )

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents `[B, D, L]` of samples `[B, 1, T]`, T a multiple of the hop, continuing where `state` ends."""
        return self.encoder(x, state)

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`, continuing where `state` ends."""
        return self.decoder(z_q, state)

    def encode_ragged(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, 1, T]`, of which the first `lengths` `[B]` samples are valid; as the authors do."""
        hop = self.spec.hop_samples
        return self.encoder(pad_to_hop(x, hop), None, -(-lengths // hop) * hop)

    def decode_ragged(self, z_q: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms `[B, 1, L * hop]` of latents `[B, D, L]`, of which the first `lengths` `[B]` frames are valid."""
        return self.decoder(_masked(z_q, lengths), None, lengths)
