"""1-D convolutions the way a CPU does them fastest: what every audio codec spends its time in.

Without gradients on a CPU (`lean`), tensors `[B, C, T]` lie in memory as `[B, T, C]`, "time-major": a step's channels side by
side. Then a convolution is a product of matrices that needs no copy of its input, and activations run over it as it lies. With
gradients, or elsewhere, everything is PyTorch's own call. Values are equal up to the order of sums. What was measured, and what
did not help, stands in `benchmarks/results/audio.md`.

Letters: B batch, C channels in, O channels out, T steps in, N steps out, k kernel, d dilation, s stride.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .norm import lean

#: What stands beyond the ends of a signal: zeros, its first and last value, or itself mirrored.
Edge = Literal["zeros", "replicate", "reflect"]


def time_major(x: Tensor) -> Tensor:
    """`x [B, C, T]`, in memory as `[B, T, C]`; the same tensor where it lies like that."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


# --- convolutions -------------------------------------------------------------------------------------------------------


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, dilation: int = 1, groups: int = 1) -> Tensor:
    """`F.conv1d` without padding: `[B, C, T]` and `[O, C / groups, k]` to `[B, O, N]`."""
    if not lean(x):
        return F.conv1d(x, weight, bias, stride, 0, dilation, groups)
    kernel = weight.shape[2]
    if x.shape[2] < (kernel - 1) * dilation + 1:
        raise ValueError(f"{x.shape[2]} steps are fewer than a kernel of {kernel} with dilation {dilation} spans; extend them.")
    if groups == 1 and kernel == stride == 1:
        return F.linear(x.transpose(1, 2), weight[:, :, 0], bias).transpose(1, 2)
    x, weight = (time_major(t).unsqueeze(2) for t in (x, weight))  # channels-last pictures of height 1
    return F.conv2d(x, weight, bias, (1, stride), 0, (1, dilation), groups).squeeze(2)


def convolve_transposed(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, groups: int = 1) -> Tensor:
    """`F.conv_transpose1d` without padding: `[B, C, T]` and `[C, O / groups, k]` to `[B, O, (T - 1) s + k]`.

    A kernel of m s: a step gives m rows of s output steps each, row j of which falls on the row of the step j later. So
    the outputs of all steps are one product with the first row's weights, and the others are added to it, one row down.
    """
    channels, outputs, kernel = weight.shape
    if not lean(x) or groups > 1 or kernel % stride:
        return F.conv_transpose1d(x, weight, bias, stride, groups=groups)
    m = kernel // stride
    parts = weight.transpose(1, 2).reshape(channels, m, -1)  # [C, m, s O]
    rows = time_major(extend(x, 0, m - 1, "zeros")).transpose(1, 2)  # [B, T + m - 1, C]
    flat = rows.flatten(0, 1)  # zeros between items, so that nothing of one falls into the next
    y = flat @ parts[:, 0] if bias is None else torch.addmm(bias.repeat(stride), flat, parts[:, 0])
    for j in range(1, m):
        y[j:].addmm_(flat[:-j], parts[:, j])
    return y.view(len(x), -1, outputs).transpose(1, 2)


# --- around them --------------------------------------------------------------------------------------------------------


def join(parts: list[Tensor]) -> Tensor:
    """`torch.cat` of `[B, C, T]` along T, in the memory layout of the last one."""
    if lean(parts[-1]):
        return torch.cat([p.transpose(1, 2) for p in parts], dim=1).transpose(1, 2)
    return torch.cat(parts, dim=-1)


def extend(x: Tensor, left: int, right: int, edge: Edge) -> Tensor:
    """Extend `[B, C, T]` on both sides.

    A signal too short to be mirrored is first extended by zeros on the right, as the authors of EnCodec do.
    """
    if left == right == 0:
        return x
    if edge == "reflect":
        short = max(0, max(left, right) - x.shape[-1] + 1)
        x = join([x, x.new_zeros(*x.shape[:2], short)]) if short else x
        y = join([x[..., 1 : left + 1].flip(-1), x, x[..., x.shape[-1] - right - 1 : -1].flip(-1)])
        return y[..., : y.shape[-1] - short]
    if edge == "replicate":
        return join([x[..., :1].expand(-1, -1, left), x, x[..., x.shape[-1] - 1 :].expand(-1, -1, right)])
    return join([x.new_zeros(*x.shape[:2], left), x, x.new_zeros(*x.shape[:2], right)])
