"""HiFi-Codec: a HiFi-GAN generator and its mirror image around group-residual quantization.

Yang et al. 2023, "HiFi-Codec: Group-residual Vector quantization for High Fidelity Audio Codec", arXiv 2305.02765. Parity was
checked against yangdongchao/AcademiCodec @ b6ac134 (MIT by its README).

Strided convolutions with residual units encode `[B, 1, T]` to latents `[B, D, L]`. Their channels are cut into groups, and each group
has a residual quantizer: ids `[B, K, L]`, K = levels * groups. HiFi-GAN's generator decodes the vectors to `[B, 1, L * hop]`, in
-1..1.

The authors' ids are `[B, L, levels * groups]`: all groups of the first level, then those of the second. Here
`[B, K, L]` in the same order. Clips are not padded: samples that do not fill a frame are dropped, and `decode` returns
zeros for them.

Letters: B batch, C channels, T samples, D latent width, K codebooks, L positions (frames), s stride.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...members import members
from ...quantizers.base import QuantizerConfig
from ...quantizers.grouped_vq import GroupedVQConfig
from ...recomputable import Recomputable
from ...spec import AudioSpec
from ..base import AudioTokenizer, pad_to_hop

#: Negative slope of all leaky ReLUs except the one before the encoder's last convolution, which has `LAST_SLOPE`.
SLOPE = 0.1
LAST_SLOPE = 0.01


@dataclass(frozen=True, kw_only=True)
class HiFiCodecConfig:
    """Settings of `HiFiCodec`; the defaults are the 24 kHz model's with a hop of 320.

    Attributes:
        sample_rate_hz: rate of the waveform.
        strides: down-sampling of each level of the encoder, from the waveform to the frames; the decoder has them in reverse order.
        stride_kernels: kernel sizes of the strided convolutions.
        encoder_width: channels at the waveform's rate, a multiple of 8; each level doubles them, and the last level has D.
        decoder_width: channels at frame rate; each level halves them.
        unit_kernels: kernel size of each of the parallel residual units of a level, whose outputs are averaged.
        unit_dilations: dilations of each unit's convolutions.
        unit: "double" follows every dilated convolution by one without dilation (HiFi-GAN's ResBlock1), "single" does not.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    sample_rate_hz: int = 24000
    strides: tuple[int, ...] = (2, 4, 5, 8)
    stride_kernels: tuple[int, ...] = (4, 8, 11, 16)
    encoder_width: int = 32
    decoder_width: int = 512
    unit_kernels: tuple[int, ...] = (3, 7, 11)
    unit_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    unit: Literal["double", "single"] = "double"
    quantizer: QuantizerConfig = GroupedVQConfig(
        update="gradient", kmeans_init=False, replace_below=0.0, commitment_weight=0.125, codebook_weight=0.5
    )

    def __post_init__(self) -> None:
        if len(self.strides) != len(self.stride_kernels):
            raise ValueError(f"strides {self.strides} and stride_kernels {self.stride_kernels} must be of one length.")
        if len(self.unit_kernels) != len(self.unit_dilations):
            raise ValueError("unit_kernels and unit_dilations must be of one length.")
        if any(k % 2 == 0 for k in self.unit_kernels):
            raise ValueError(f"unit_kernels is {self.unit_kernels}; they must be odd.")
        if self.encoder_width % 8:
            raise ValueError(f"encoder_width is {self.encoder_width}; the group norms need a multiple of 8.")

    @property
    def dim(self) -> int:
        """D, number of channels of the latents."""
        return self.encoder_width * 2 ** len(self.strides)


class GeneratorConfig(Protocol):
    """What `HiFiDecoder` reads of a config; see `HiFiCodecConfig`."""

    @property
    def dim(self) -> int: ...
    @property
    def decoder_width(self) -> int: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def stride_kernels(self) -> tuple[int, ...]: ...
    @property
    def unit_kernels(self) -> tuple[int, ...]: ...
    @property
    def unit_dilations(self) -> tuple[tuple[int, ...], ...]: ...
    @property
    def unit(self) -> str: ...


class HiFiUnit(nn.Module, Recomputable):
    """For each dilation: leaky ReLU, convolution (and again, undilated), the input added; `[B, C, T]`."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], *, double: bool) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel - 1) // 2) for d in dilations
        )
        plain = (nn.Conv1d(channels, channels, kernel, padding=kernel // 2) for _ in dilations)
        self.plain = nn.ModuleList(plain) if double else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit: `[B, C, T]` to the same shape."""
        for i, conv in enumerate(self.dilated):
            y = conv(F.leaky_relu(x, SLOPE))
            x = x + (y if self.plain is None else self.plain[i](F.leaky_relu(y, SLOPE)))
        return x


def _units(channels: int, c: GeneratorConfig, *, backwards: bool = False) -> nn.ModuleList:
    pairs = list(zip(c.unit_kernels, c.unit_dilations, strict=True))
    pairs = pairs[::-1] if backwards else pairs
    return nn.ModuleList(HiFiUnit(channels, k, d, double=c.unit == "double") for k, d in pairs)


class HiFiDown(nn.Module):
    """One level of the encoder: leaky ReLU, strided convolution, parallel residual units, whose sum is normalised after each one."""

    def __init__(self, channels: int, stride: int, kernel: int, c: HiFiCodecConfig) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, 2 * channels, kernel, stride=stride, padding=(kernel - stride) // 2)
        self.units = _units(2 * channels, c, backwards=True)
        self.norms = nn.ModuleList(nn.GroupNorm(channels // 8, 2 * channels, eps=1e-6) for _ in self.units)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the level: `[B, C, T]` to `[B, 2C, T / s]`."""
        x = self.conv(F.leaky_relu(x, SLOPE))
        total: Tensor | None = None
        for unit, norm in zip(self.units, self.norms, strict=True):
            total = norm(unit(x) if total is None else total + unit(x))  # the norm is applied to the running sum
        assert total is not None
        return total / len(self.units)

    def length(self, steps: int) -> int:
        """Number of output steps for `steps` input steps."""
        (padding,), (kernel,), (stride,) = self.conv.padding, self.conv.kernel_size, self.conv.stride
        assert isinstance(padding, int)  # not the name of a way to pad
        return (steps + 2 * padding - kernel) // stride + 1


class HiFiEncoder(nn.Module):
    """Convolutional encoder: waveforms `[B, 1, T]` to latents `[B, D, L]`."""

    def __init__(self, c: HiFiCodecConfig) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, c.encoder_width, 7, padding=3)
        self.levels = nn.ModuleList(
            HiFiDown(c.encoder_width * 2**i, s, k, c) for i, (s, k) in enumerate(zip(c.strides, c.stride_kernels, strict=True))
        )
        self.head = nn.Conv1d(c.dim, c.dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: `[B, 1, T]` to `[B, D, L]`."""
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
        return self.head(F.leaky_relu(x, LAST_SLOPE))

    def length(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples; 0 or less: the clip is too short."""
        for level in members(self.levels, HiFiDown):
            samples = level.length(samples) if samples > 0 else 0
        return samples


class HiFiUp(nn.Module):
    """One level of the decoder: leaky ReLU, transposed convolution, mean of units; to `[B, C / 2, T * s]`."""

    def __init__(self, channels: int, stride: int, kernel: int, c: GeneratorConfig) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels // 2, kernel, stride=stride, padding=(kernel - stride) // 2)
        self.units = _units(channels // 2, c)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the level: `[B, C, T]` to `[B, C / 2, T * s]`."""
        x = self.conv(F.leaky_relu(x, SLOPE))
        return torch.stack([unit(x) for unit in self.units]).sum(0) / len(self.units)


class HiFiDecoder(nn.Module):
    """HiFi-GAN's generator: latents `[B, D, L]` to waveforms `[B, 1, about L * hop]`, in -1..1.

    Args:
        c: sizes.
        last_slope: negative slope of the leaky ReLU before the last convolution.
    """

    def __init__(self, c: GeneratorConfig, *, last_slope: float = SLOPE) -> None:
        super().__init__()
        self.last_slope = last_slope
        self.stem = nn.Conv1d(c.dim, c.decoder_width, 7, padding=3)
        pairs = list(zip(c.strides, c.stride_kernels, strict=True))[::-1]
        self.levels = nn.Sequential(*(HiFiUp(c.decoder_width // 2**i, s, k, c) for i, (s, k) in enumerate(pairs)))
        self.head = nn.Conv1d(c.decoder_width // 2 ** len(pairs), 1, 7, padding=3)

    def forward(self, z: Tensor) -> Tensor:
        """Decode: `[B, D, L]` to `[B, 1, about L * hop]`."""
        return torch.tanh(self.head(F.leaky_relu(self.levels(self.stem(z)), self.last_slope)))


class HiFiCodec(AudioTokenizer):
    """HiFi-Codec; see the module's docstring. Not causal: the convolutions look ahead."""

    family: ClassVar[str] = "hificodec"
    config_class: ClassVar[type] = HiFiCodecConfig

    def __init__(self, config: HiFiCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = HiFiEncoder(config)
        self.quantizer = config.quantizer.build(dim=config.dim)
        self.decoder = HiFiDecoder(config)
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=math.prod(config.strides),
        )

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples, at least 1."""
        return max(1, self.encoder.length(samples))

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of `[B, 1, T]`."""
        if self.encoder.length(x.shape[-1]) < 1:  # too short for a frame
            x = pad_to_hop(x, self.spec.hop_samples)
        return self.encoder(x)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`; longer where kernel minus stride is odd."""
        return self.decoder(z_q)
