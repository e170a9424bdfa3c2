"""1-D convolutions that are causal or centred by a switch, and stream exactly when causal.

Letters: B batch, C channels, T steps, k kernel, d dilation, s stride.

Streaming: every module takes an optional `State`, a plain dictionary that holds what each layer must remember between
two pieces. Without it a layer pads with zeros, which is the state at the start of a stream: one code path serves both.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class State(dict[nn.Module, Any]):
    """What a stream remembers: for each layer (by identity) the tail of its input or output.

    `ending` is set for the last piece: layers that hold samples back (padding by reflection needs the samples that it
    mirrors) then complete them.
    """

    ending: bool = False


class Conv1d(nn.Conv1d):
    """Convolution `[B, C, T]` to `[B, C', T / s]`, T a multiple of s; padding on the left only when causal.

    Args:
        edge: what stands beyond the ends of the signal: zeros, or its first and last value ("replicate").
        fill: bring any T to a multiple of s on the right, by the same rule; in a stream that is for the last piece.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        causal: bool = False,
        edge: Literal["zeros", "replicate"] = "zeros",
        fill: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, bias=bias)
        self.causal, self.edge, self.fill = causal, edge, fill
        total = (kernel_size - 1) * dilation + 1 - stride  # what one output sees beyond its own `stride` inputs
        if total < 0:
            raise ValueError(f"kernel {kernel_size} with dilation {dilation} is shorter than the stride {stride}.")
        self.pads = (total, 0) if causal else (total - total // 2, total // 2)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Convolve; with `state` (causal only) the piece `x` continues where the last one ended."""
        left, right = self.pads
        if self.fill:
            right += -x.shape[-1] % self.stride[0]
        if state is None:
            return super().forward(self._extend(x, left, right))
        if not self.causal:
            raise ValueError("only causal layers stream.")
        tail = state.get(self)
        x = self._extend(x, left if tail is None else 0, right)
        x = x if tail is None else torch.cat([tail, x], dim=-1)
        state[self] = x[..., x.shape[-1] - left :]
        return super().forward(x)

    def _extend(self, x: Tensor, left: int, right: int) -> Tensor:
        if left == right == 0:
            return x
        return F.pad(x, (left, right), mode="constant" if self.edge == "zeros" else "replicate")


class ConvTranspose1d(nn.ConvTranspose1d):
    """Transposed convolution `[B, C, T]` to `[B, C', T * s]`; the surplus k - s is cut on the right when causal."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int,
        groups: int = 1,
        bias: bool = True,
        causal: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=bias)
        self.causal = causal
        surplus = kernel_size - stride
        if surplus < 0:
            raise ValueError(f"kernel {kernel_size} is shorter than the stride {stride}: there would be gaps.")
        self.cuts = (0, surplus) if causal else (surplus - surplus // 2, surplus // 2)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:  # type: ignore[override]
        """Convolve; with `state` (causal only) the overlapping tail of the last piece is added."""
        y = super().forward(x)
        left, right = self.cuts
        if state is None:
            return y[..., left : y.shape[-1] - right]
        if not self.causal:
            raise ValueError("only causal layers stream.")
        if right == 0:
            return y
        if self in state:
            y = torch.cat([y[..., :right] + state[self], y[..., right:]], dim=-1)
        tail = y[..., y.shape[-1] - right :]
        state[self] = tail if self.bias is None else tail - self.bias[:, None]  # the bias comes again with the next piece
        return y[..., : y.shape[-1] - right]


class Chain(nn.Sequential):
    """`nn.Sequential` that hands `state` to the layers that can use it."""

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:  # type: ignore[override]
        """Apply the layers in order."""
        for layer in self:
            x = layer(x, state) if isinstance(layer, (Conv1d, ConvTranspose1d, Chain, Streaming)) else layer(x)
        return x


class Streaming(nn.Module):
    """Base of blocks whose `forward` takes `(x, state)`."""

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the block; see the module's docstring for `state`."""
        raise NotImplementedError
