"""The blocks of DAC: Snake activations, dilated residual units, strided convolutions with a kernel of twice their stride.

Kumar et al. 2023, arXiv 2306.06546, section 3.1 and appendix A. SNAC (arXiv 2410.14411) makes the dilated convolutions
depthwise and adds noise in the decoder.

Letters: B batch, C channels, T steps, s stride.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..kernels.residual1d import Residual1d
from ..kernels.snake import Snake
from ..kernels.stream import Layer
from ..start import start_deviation
from .causal import Chain, Conv1d, ConvTranspose1d, State, Streaming

#: Dilations of the three residual units of every level.
DILATIONS = (1, 3, 9)

#: Function that builds an activation for a number of channels.
Activation = Callable[[int], nn.Module]


class DACUnit(Residual1d):
    """(activation, dilated convolution of 7, activation, convolution of 1), and the input added; `[B, C, T]`."""

    def __init__(
        self, channels: int, dilation: int, *, groups: int = 1, activation: Activation = Snake, causal: bool = False
    ) -> None:
        super().__init__()
        self.act_in = activation(channels)
        self.conv_in = Conv1d(channels, channels, 7, dilation=dilation, groups=groups, causal=causal)
        self.act_out = activation(channels)
        self.conv_out = Conv1d(channels, channels, 1)

    def branch(self) -> list[Layer]:
        """Layers of the residual branch, whose output is added to the input."""
        return [self.act_in, self.conv_in, self.act_out, self.conv_out]


class DACDown(Streaming):
    """Residual units, activation, strided convolution; `[B, C, T]` to `[B, C', T / s]`."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        stride: int,
        *,
        dilations: tuple[int, ...] = DILATIONS,
        depthwise: bool = False,
        activation: Activation = Snake,
        causal: bool = False,
    ) -> None:
        super().__init__()
        groups, pad = channels if depthwise else 1, math.ceil(stride / 2)
        self.units = Chain(*(DACUnit(channels, d, groups=groups, activation=activation, causal=causal) for d in dilations))
        self.act = activation(channels)
        pads = None if causal else (pad, pad)
        self.conv = Conv1d(channels, out_channels, 2 * stride, stride=stride, causal=causal, pads=pads)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the level to `[B, C, T]`; with `state`, to the next piece of a stream."""
        return self.conv(self.act(self.units(x, state)), state)


class DACNoise(nn.Module):
    """Add one channel of noise to all channels, each scaled by a linear map of the signal; `[B, C, T]` (SNAC)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = Conv1d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, noise: Tensor | None, state: State | None = None) -> Tensor:
        """Add `noise` `[B, 1, T]`; None: no noise. A stream takes the noise of all pieces with the first one and keeps it."""
        if state is not None:
            noise = state.get(self, noise)
            state[self] = None if noise is None else noise[..., x.shape[-1] :]
        return x if noise is None else x + noise[..., : x.shape[-1]] * self.gain(x, state)


class DACUp(Streaming):
    """Activation, transposed convolution, optional noise, residual units; `[B, C, T]` to `[B, C', T * s]`.

    Without `whole` the output of an odd stride has `T * s - 1` steps: DAC cuts off `ceil(s / 2)` on each side. If causal, all that
    is cut off comes off the end.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        stride: int,
        *,
        dilations: tuple[int, ...] = DILATIONS,
        depthwise: bool = False,
        whole: bool = False,
        noise: bool = False,
        activation: Activation = Snake,
        causal: bool = False,
    ) -> None:
        super().__init__()
        groups, cut = out_channels if depthwise else 1, math.ceil(stride / 2)
        self.act = activation(channels)
        cuts = None if causal else (cut, cut - stride % 2 if whole else cut)
        self.conv = ConvTranspose1d(channels, out_channels, 2 * stride, stride=stride, causal=causal, cuts=cuts)
        self.noise = DACNoise(out_channels) if noise else None
        units = (DACUnit(out_channels, d, groups=groups, activation=activation, causal=causal) for d in dilations)
        self.units = Chain(*units)

    def forward(self, x: Tensor, state: State | None = None, *, noise: Tensor | None = None) -> Tensor:
        """Apply the level to `[B, C, T]`; `noise` `[B, 1, T * s]` is the input of the noise block, if there is one."""
        x = self.conv(self.act(x), state)
        return self.units(x if self.noise is None else self.noise(x, noise, state), state)


def dac_context_frames(strides: tuple[int, ...], *, edge: int) -> int:
    """Number of frames on each side that a frame of the encoder or a sample of the decoder depends on.

    Args:
        strides: strides of the levels, from the waveform to the frames.
        edge: number of frames on each side that the convolutions at frame rate depend on.
    """
    units = 3 * sum(DILATIONS)  # a kernel of 7 covers 3 dilated steps on each side
    step, reach = 1, 3
    for stride in strides:
        reach += (units + 2 * stride) * step
        step *= stride
    return -(-reach // step) + edge + 1


def dac_init(module: nn.Module) -> None:
    """Initialise convolutions as the authors do; for `nn.Module.apply`."""
    if isinstance(module, nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=start_deviation(module.weight[0].numel()))
        if module.bias is not None:
            torch.nn.init.zeros_(module.bias)
