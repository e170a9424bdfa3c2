"""Fast 1-D convolutions on CPUs, in which audio codecs spend most of their time.

Without gradients on a CPU, tensors `[B, C, T]` are stored as `[B, T, C]`, "time-major": the channels of a step are adjacent. Then a
convolution is a matrix product that needs no copy of its input, and activations keep the layout. Weights are stored like this
too, from `eval()` on. With gradients, or on other devices, PyTorch's own functions are called. Values are equal up to the order
of sums. Measurements, also of what did not help, are in `benchmarks/results/audio.md`.

Letters: B batch, C channels in, O channels out, T steps in, N steps out, k kernel, d dilation, s stride.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mode import cpu_inference

#: Padding beyond the ends of a signal: zeros, its first and last value, or its reflection.
Edge = Literal["zeros", "replicate", "reflect"]

#: Number of weights, 6 MB, from which oneDNN, which reorders them in each call, is slower than a matrix product for each step.
_WIDE = 3 << 19


def time_major(x: Tensor) -> Tensor:
    """`x [B, C, T]`, stored as `[B, T, C]`; no copy if it is stored like that already."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


# --- modules ------------------------------------------------------------------------------------------------------------


class _TimeMajor(nn.Module):
    """Base of convolutions whose weight, if on a CPU, is stored time-major in eval mode, so that no call has to copy it.

    Shapes, values and checkpoints are the same; in train mode the weight is contiguous as usual.
    """

    def train(self, mode: bool = True) -> "_TimeMajor":
        """As `nn.Module.train`; also changes the memory layout of the weight."""
        weight = self._parameters.get("weight")
        if weight is not None and weight.device.type == "cpu":
            weight.data = weight.data.contiguous() if mode else time_major(weight.data)
        return super().train(mode)


class Conv1d(_TimeMajor, nn.Conv1d):
    """`nn.Conv1d` without padding, `[B, C, T]` to `[B, O, N]`."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, T]` to `[B, O, N]`."""
        stride, dilation = self.stride[0], self.dilation[0]
        return convolve(x, self.weight, self.bias, stride=stride, dilation=dilation, groups=self.groups)


class ConvTranspose1d(_TimeMajor, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` without padding, which can continue a signal after its last piece."""

    def forward(self, x: Tensor, tail: Tensor | None = None) -> Tensor:
        """Convolve `[B, C, T]` to `[B, O, (T - 1) s + k]`.

        Args:
            x: a signal, or a piece of one, which may be empty.
            tail: `[B, O, k - s]`, output of the piece before beyond its own T s steps, without the bias; it is added.
        """
        overlap = self.kernel_size[0] - self.stride[0]
        if x.shape[-1]:
            y = convolve_transposed(x, self.weight, self.bias, stride=self.stride[0], groups=self.groups)
        else:
            y = x.new_zeros(len(x), self.out_channels, overlap) + (0 if self.bias is None else self.bias[:, None])
        if tail is None or not overlap:
            return y
        if not cpu_inference(y):
            return join([y[..., :overlap] + tail, y[..., overlap:]])
        y[..., :overlap] += tail
        return y


# --- functions ----------------------------------------------------------------------------------------------------------


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, dilation: int = 1, groups: int = 1) -> Tensor:
    """`F.conv1d` without padding: `[B, C, T]` and `[O, C / groups, k]` to `[B, O, N]`."""
    if not cpu_inference(x):
        return F.conv1d(x, weight, bias, stride, 0, dilation, groups)
    kernel = weight.shape[2]
    if x.shape[2] < (kernel - 1) * dilation + 1:
        raise ValueError(f"{x.shape[2]} steps are fewer than a kernel of {kernel} with dilation {dilation} spans; extend them.")
    if groups == 1 and kernel == stride == 1:
        return F.linear(x.transpose(1, 2), weight[:, :, 0], bias).transpose(1, 2)
    in_steps = stride == 1 or (dilation == 1 and kernel % stride == 0)
    wide = groups == 1 and weight.numel() >= _WIDE and x.dtype in (torch.float32, torch.float64)
    if wide and in_steps and not torch.compiler.is_compiling():
        return _convolve_wide(x, weight, bias, stride=stride, dilation=dilation)
    x, weight = (time_major(t).unsqueeze(2) for t in (x, weight))  # channels-last pictures of height 1
    return F.conv2d(x, weight, bias, (1, stride), 0, (1, dilation), groups).squeeze(2)


def _convolve_wide(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, dilation: int) -> Tensor:
    """As `convolve`, as one matrix product for each s steps of the kernel; `stride` is 1, or divides the kernel and `dilation` is 1."""
    (batch, channels, steps), (outputs, _, kernel) = x.shape, weight.shape
    count = (steps - (kernel - 1) * dilation - 1) // stride + 1  # N
    rows = time_major(x).transpose(1, 2)[:, : steps // stride * stride].view(batch, -1, stride * channels)  # [B, T / s, s C]
    taps = time_major(weight).transpose(1, 2).view(outputs, -1, stride * channels)  # [O, k / s, s C]
    y = x.new_empty(batch, count, outputs)
    for row, out in zip(rows, y, strict=True):
        if bias is None:
            torch.mm(row[:count], taps[:, 0].t(), out=out)
        else:
            torch.addmm(bias, row[:count], taps[:, 0].t(), out=out)
        for j in range(1, taps.shape[1]):
            out.addmm_(row[j * dilation :][:count], taps[:, j].t())
    return y.transpose(1, 2)


def convolve_transposed(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, groups: int = 1) -> Tensor:
    """`F.conv_transpose1d` without padding: `[B, C, T]` and `[C, O / groups, k]` to `[B, O, (T - 1) s + k]`.

    A kernel of m s: each input step contributes to m rows of s output steps, to row j of which the step j later contributes too.
    So all outputs are one product with the weights of the first row, to which the products of the others are added, each one row
    further down.
    """
    channels, outputs, kernel = weight.shape
    if not cpu_inference(x) or groups > 1 or kernel % stride:
        return F.conv_transpose1d(x, weight, bias, stride, groups=groups)
    m = kernel // stride
    parts = weight.transpose(1, 2).reshape(channels, m, -1)  # [C, m, s O]
    rows = time_major(extend(x, 0, m - 1, "zeros")).transpose(1, 2)  # [B, T + m - 1, C]
    flat = rows.flatten(0, 1)  # zeros between items, so that none contributes to the next
    y = flat @ parts[:, 0] if bias is None else torch.addmm(bias.repeat(stride), flat, parts[:, 0])
    for j in range(1, m):
        y[j:].addmm_(flat[:-j], parts[:, j])
    return y.view(len(x), -1, outputs).transpose(1, 2)


def join(parts: list[Tensor]) -> Tensor:
    """`torch.cat` of `[B, C, T]` along T, in the memory layout of the last one."""
    if cpu_inference(parts[-1]):
        return torch.cat([p.transpose(1, 2) for p in parts], dim=1).transpose(1, 2)
    return torch.cat(parts, dim=-1)


def extend(x: Tensor, left: int, right: int, edge: Edge) -> Tensor:
    """Pad `[B, C, T]` to `[B, C, left + T + right]`.

    A signal too short to be reflected is first padded with zeros on the right, as in EnCodec.
    """
    if left == right == 0:
        return x
    free = torch.compiler.is_exporting() and not isinstance(x.shape[-1], int)
    if edge == "reflect" and free:  # a graph of any length takes no signal that is too short
        return F.pad(x, (left, right), mode="reflect")
    if edge == "reflect":
        short = max(0, max(left, right) - x.shape[-1] + 1)
        x = join([x, x.new_zeros(*x.shape[:2], short)]) if short else x
        y = join([x[..., 1 : left + 1].flip(-1), x, x[..., x.shape[-1] - right - 1 : -1].flip(-1)])
        return y[..., : y.shape[-1] - short]
    if edge == "replicate":
        return join([x[..., :1].expand(-1, -1, left), x, x[..., x.shape[-1] - 1 :].expand(-1, -1, right)])
    return join([x.new_zeros(*x.shape[:2], left), x, x.new_zeros(*x.shape[:2], right)])
