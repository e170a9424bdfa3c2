"""1-D convolutions that are causal or centred, as an option, and that stream exactly if they are causal.

Streaming: every module takes an optional `State`; see `kernels/stream.py`. The output of a signal in pieces equals that of the
whole for centred layers too, so that long signals are computed in pieces whose activations stay in the processor's caches
(`kernels/time_tiles.py`).

Letters: B batch, C channels, T steps, k kernel, d dilation, s stride.
"""

import torch
from torch import Tensor, nn

from ..kernels import conv1d
from ..kernels.conv1d import Edge, extend, join
from ..kernels.stream import State, StepState, Streaming, chain


class Conv1d(conv1d.Conv1d, Streaming):
    """Convolution `[B, C, T]` to `[B, C', T / s]`, T a multiple of s; padding on the left only when causal.

    Args:
        edge: padding beyond the ends of the signal: "zeros", "replicate" (its first and last value) or "reflect".
        fill: pad any T on the right to a multiple of s, in the same way; in a stream only the last piece is padded.
        pads: steps of padding on the left and on the right; None: those that `causal` implies.
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
        edge: Edge = "zeros",
        fill: bool = False,
        pads: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, bias=bias)
        if dilation < 1:
            raise ValueError(f"dilation is {dilation}; it must be at least 1.")
        self.causal, self.fill = causal, fill
        self.edge: Edge = edge
        self.reach = (kernel_size - 1) * dilation + 1  # receptive field: inputs that one output depends on
        total = self.reach - stride
        if total < 0:
            raise ValueError(f"kernel {kernel_size} with dilation {dilation} is shorter than the stride {stride}.")
        self.pads = pads or ((total, 0) if causal else (total - total // 2, total // 2))
        mirrored = self.pads[1] + (stride - 1 if fill else 0) if edge == "reflect" else 0  # inputs reflected at the right end
        #: Inputs that a stream needs before it can pad both sides.
        self.start = max(self.pads[0], mirrored) + 1 if edge == "reflect" else int(edge == "replicate")
        self.start = self.start if total or mirrored else 0
        #: Inputs kept besides the receptive field of the next output, so that the right end can be reflected at any time.
        self.spare = max(0, mirrored + 1 - total) if mirrored else 0

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Convolve `[B, C, T]` to `[B, C', T / s]`; with `state`, `x` is the next piece of a stream."""
        if state is not None:
            return self._piece(x, state)
        left, right = self.pads
        return self._convolve(self._extend(x, left, right + self._rest(x.shape[-1])))

    def needs(self, outputs: int) -> int:
        """Number of inputs that a stream needs for its first `outputs` outputs."""
        return max(outputs * self.stride[0], self.start)

    def _piece(self, x: Tensor, state: State) -> Tensor:
        if isinstance(state, StepState):
            return self._step(x, state)
        step, (left, right) = self.stride[0], self.pads
        held, used, started = state.get(self, (x[..., :0], 0, False))  # `used`: inputs of `held` kept only to be reflected
        x = join([held, x]) if held.shape[-1] else x
        if not started:
            started = x.shape[-1] >= self.start
            if started:
                x = self._extend(x, left, 0)
            elif state.ending and x.shape[-1]:  # the whole signal is shorter than its padding
                return self(x)
        if state.ending and started:
            x = self._extend(x, 0, right + self._rest(x.shape[-1] - used - left))
        count = max(0, (x.shape[-1] - used - self.reach) // step + 1) if started else 0
        done = used + count * step
        keep = min(done, self.spare)
        state[self] = (x[..., done - keep :].clone(), keep, started)  # without the rest of the piece
        if count == 0:
            return x.new_zeros(x.shape[0], self.out_channels, 0)
        return self._convolve(x[..., used : done - step + self.reach])

    def _step(self, x: Tensor, state: StepState) -> Tensor:
        """The next piece, a multiple of the stride, where the state is tensors only: the last inputs and whether there were any."""
        left, right = self.pads
        if right:
            raise ValueError("a layer that depends on later samples has no state of fixed shape.")
        if left == 0:
            return self._convolve(x)
        held, begun = state.get(self, (x.new_zeros(*x.shape[:2], left), x.new_zeros(x.shape[0])))
        if self.edge != "zeros":
            held = torch.where(begun[:, None, None] > 0, held, self._extend(x, left, 0)[..., :left])
        x = join([held, x])
        state[self] = (x[..., x.shape[-1] - left :].clone(), torch.ones_like(begun))
        return self._convolve(x)

    def _rest(self, steps: int) -> int:
        return -steps % self.stride[0] if self.fill else 0

    def _extend(self, x: Tensor, left: int, right: int) -> Tensor:
        return extend(x, left, right, self.edge)

    def _convolve(self, x: Tensor) -> Tensor:
        return super().forward(x)


class ConvTranspose1d(conv1d.ConvTranspose1d, Streaming):
    """Transposed convolution `[B, C, T]` to `[B, C', T * s]`; the k - s additional steps are cut off, on the right if causal.

    Args:
        cuts: output steps cut off on the left and on the right; None: those that `causal` implies.
    """

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
        cuts: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=bias)
        self.causal = causal
        surplus = kernel_size - stride
        if surplus < 0:
            raise ValueError(f"kernel {kernel_size} is shorter than the stride {stride}: there would be gaps.")
        self.cuts = cuts or ((0, surplus) if causal else (surplus - surplus // 2, surplus // 2))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Convolve `[B, C, T]` to `[B, C', T * s]`; with `state`, the overlapping tail of the piece before is added."""
        if state is not None:
            return self._piece(x, state)
        left, right = self.cuts
        y = self._convolve(x)
        return y[..., left : y.shape[-1] - right]

    def needs(self, outputs: int) -> int:
        """Number of inputs that a stream needs for its first `outputs` outputs."""
        return -(-(outputs + self.cuts[0]) // self.stride[0])

    def _piece(self, x: Tensor, state: State) -> Tensor:
        overlap = self.kernel_size[0] - self.stride[0]
        if isinstance(state, StepState):
            return self._step(x, state, overlap)
        tail, cut = state.get(self, (None, self.cuts[0]))  # `cut`: steps still to be cut on the left
        y = self._convolve(x, tail)  # [B, C', T s + overlap]
        whole = x.shape[-1] * self.stride[0]
        # The next piece adds the bias to these steps once more.
        tail = y[..., whole:].clone() if self.bias is None else y[..., whole:] - self.bias[:, None]
        y = y[..., : whole + overlap - self.cuts[1]] if state.ending else y[..., :whole]
        state[self] = (tail, max(0, cut - y.shape[-1]))
        return y[..., cut:]

    def _step(self, x: Tensor, state: StepState, overlap: int) -> Tensor:
        if self.cuts[0]:
            raise ValueError("a layer that depends on later steps has no state of fixed shape.")
        if not overlap:
            return self._convolve(x)
        y = self._convolve(x, state[self] if self in state else x.new_zeros(x.shape[0], self.out_channels, overlap))
        whole = x.shape[-1] * self.stride[0]
        state[self] = y[..., whole:].clone() if self.bias is None else y[..., whole:] - self.bias[:, None]
        return y[..., :whole]

    def _convolve(self, x: Tensor, tail: Tensor | None = None) -> Tensor:
        return super().forward(x, tail)


class Chain(nn.Sequential, Streaming):
    """`nn.Sequential` that passes `state` on to those layers that take one."""

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the layers in order to `[B, C, T]`; with `state`, to the next piece of a stream."""
        return chain(self, x, state)
