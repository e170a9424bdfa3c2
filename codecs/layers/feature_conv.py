"""Convolutional encoder and decoder over a speech model's features: residual units of two convolutions, strided layers.

RepCodec (Huang et al. 2023, arXiv 2309.00169), as used in X-codec (arXiv 2408.17175) and H-Codec.

Letters: B batch, C channels, N feature frames, s stride.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class FeatureConvConfig:
    """Settings of `FeatureEncoder` and `FeatureDecoder`.

    Attributes:
        features: number of channels of the speech model's features.
        width: number of channels after the first convolution of the encoder.
        ratios: channels of each level divided by `width`: output channels in the encoder, input channels in the decoder.
        strides: strides of the levels, in the order in which the encoder, and also the decoder, applies them.
        kernel_size: kernel of the first and last convolution of encoder and decoder, odd.
        unit_kernel: kernel of the dilated convolution of a residual unit, odd.
        dilations: dilations of the residual units of a level.
        bias: whether the strided convolutions have a bias; the others have none.
        up_bias: whether the transposed convolutions of the decoder (strides above 1) have a bias; only with `bias`.
    """

    features: int = 768
    width: int = 768
    ratios: tuple[float, ...] = (1, 1)
    strides: tuple[int, ...] = (2, 1)
    kernel_size: int = 3
    unit_kernel: int = 3
    dilations: tuple[int, ...] = (1, 1)
    bias: bool = True
    up_bias: bool = True

    def __post_init__(self) -> None:
        if len(self.ratios) != len(self.strides) or not self.strides:
            raise ValueError(f"ratios {self.ratios} and strides {self.strides} must be of one length, at least 1.")
        if self.kernel_size % 2 == 0 or self.unit_kernel % 2 == 0:
            raise ValueError(f"kernel_size ({self.kernel_size}) and unit_kernel ({self.unit_kernel}) must be odd.")

    def channels(self, level: int) -> int:
        """Number of channels of a level, from 0."""
        return int(self.width * self.ratios[level])


class FeatureUnit(nn.Module):
    """(ELU, dilated convolution, ELU, convolution of 1), and the input added; `[B, C, N]`."""

    def __init__(self, channels: int, dilation: int, config: FeatureConvConfig) -> None:
        super().__init__()
        k = config.unit_kernel
        self.conv_in = nn.Conv1d(channels, channels, k, dilation=dilation, padding=(k - 1) // 2 * dilation, bias=False)
        self.conv_out = nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit to `[B, C, N]`; the shape stays."""
        return x + self.conv_out(F.elu(self.conv_in(F.elu(x))))


def _units(channels: int, config: FeatureConvConfig) -> nn.Sequential:
    return nn.Sequential(*(FeatureUnit(channels, d, config) for d in config.dilations))


class FeatureDown(nn.Module):
    """One level of the encoder: residual units, strided convolution; `[B, C, N]` to `[B, C', N / s]`."""

    def __init__(self, channels: int, out_channels: int, stride: int, config: FeatureConvConfig) -> None:
        super().__init__()
        kernel = 3 if stride == 1 else 2 * stride
        self.units = _units(channels, config)
        self.conv = nn.Conv1d(channels, out_channels, kernel, stride=stride, padding=(kernel - 1) // 2, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, N]` to `[B, C', N / s]`."""
        return self.conv(self.units(x))


class FeatureUp(nn.Module):
    """One level of the decoder: transposed convolution, residual units; `[B, C, N]` to `[B, C', N * s]`."""

    def __init__(self, channels: int, out_channels: int, stride: int, config: FeatureConvConfig) -> None:
        super().__init__()
        if stride == 1:
            self.conv: nn.Module = nn.Conv1d(channels, out_channels, 3, padding=1, bias=config.bias)
        else:
            self.conv = nn.ConvTranspose1d(
                channels,
                out_channels,
                2 * stride,
                stride=stride,
                padding=(stride + 1) // 2,
                output_padding=stride % 2,
                bias=config.bias and config.up_bias,
            )
        self.units = _units(out_channels, config)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, N]` to `[B, C', N * s]`."""
        return self.units(self.conv(x))


class FeatureEncoder(nn.Module):
    """Features `[B, C, N]` to latents `[B, dim, N / strides]`; `dim` None: no last convolution, the width of the last level."""

    def __init__(self, dim: int | None, config: FeatureConvConfig) -> None:
        super().__init__()
        c, pad = config, config.kernel_size // 2
        widths = [c.width, *(c.channels(i) for i in range(len(c.strides)))]
        self.stem = nn.Conv1d(c.features, c.width, c.kernel_size, padding=pad, bias=False)
        self.levels = nn.Sequential(*(FeatureDown(widths[i], widths[i + 1], s, c) for i, s in enumerate(c.strides)))
        same = dim is None
        self.head = nn.Identity() if same else nn.Conv1d(widths[-1], dim, c.kernel_size, padding=pad, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Encode features `[B, C, N]` to latents `[B, dim, N / strides]`."""
        return self.head(self.levels(self.stem(x)))


class FeatureDecoder(nn.Module):
    """Latents `[B, dim, L]` to features `[B, C, L * strides]`."""

    def __init__(self, dim: int, config: FeatureConvConfig) -> None:
        super().__init__()
        c, pad = config, config.kernel_size // 2
        widths = [*(c.channels(i) for i in range(len(c.strides))), c.width]
        self.stem = nn.Conv1d(dim, widths[0], c.kernel_size, padding=pad, bias=False)
        self.levels = nn.Sequential(*(FeatureUp(widths[i], widths[i + 1], s, c) for i, s in enumerate(c.strides)))
        self.head = nn.Conv1d(widths[-1], c.features, c.kernel_size, padding=pad, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Decode latents `[B, dim, L]` to features `[B, C, L * strides]`."""
        return self.head(self.levels(self.stem(z)))
