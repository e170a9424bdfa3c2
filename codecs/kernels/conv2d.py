"""2-D convolutions with the fastest available implementation: `nn.Conv2d`, halving and doubling.

On other devices than CPUs, under autocast, and with gradients for halving, PyTorch's own implementation runs; values are equal up
to rounding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .mode import cpu_inference, empty_like_layout
from .winograd import convolve3x3, filter_gradient, pays


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`; on a CPU, 3x3 filters with many channels are computed by `winograd.py`, and so are their gradients."""

    def quick(self, x: Tensor) -> bool:
        """Whether `winograd.py` alone computes the convolution of `x [B, C, H, W]`, without gradients."""
        return cpu_inference(x) and self._suits(x)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, H, W]` to `[B, O, H', W']`."""
        if not self._suits(x):
            return super().forward(x)
        return convolve3x3(x, self.weight, self.bias) if cpu_inference(x) else _Convolution.apply(x, self.weight, self.bias)

    def _suits(self, x: Tensor) -> bool:
        plain = self.kernel_size == (3, 3) and self.padding == (1, 1) and self.padding_mode == "zeros" and self.groups == 1
        unit = self.stride == self.dilation == (1, 1)
        here = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
        return plain and unit and here and pays(x, self.weight)


class _Convolution(torch.autograd.Function):
    """3x3 convolution of `x [B, C, H, W]` with zeros around it, and its gradients; results have the memory layout of `x`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`[B, O, H, W]`."""
        ctx.save_for_backward(x, weight)
        return _like(convolve3x3(x, weight, bias), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `x`, `weight` and `bias`, where asked for."""
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _like(convolve3x3(grad, weight.flip(2, 3).transpose(0, 1)), x) if of_x else None,
            filter_gradient(x, grad) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
        )


def _like(y: Tensor, x: Tensor) -> Tensor:
    """`y` in the memory layout of `x`: in channels-last memory, oneDNN's gradients of other layers' weights would be slower."""
    return y.contiguous() if x.is_contiguous() else y


class HalvingConv2d(nn.Conv2d):
    """3x3 convolution of stride 2, zeros on the right and below; `[B, C, H, W]` to `[B, O, H / 2, W / 2]`.

    Only the last row and column of outputs depend on the zeros; on a CPU these are computed separately, without a padded copy of
    the picture.

    A single column of outputs is computed as a row of the transposed picture: oneDNN's bfloat16 convolution of stride 2 reads
    memory without values where the output is one pixel wide.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, O, H / 2, W / 2]`."""
        height, width = x.shape[-2:]
        if not cpu_inference(x) or height % 2 or width % 2 or min(height, width) < 4:
            return self._convolve(F.pad(x, (0, 1, 0, 1)))
        y = empty_like_layout(x, len(x), self.out_channels, height // 2, width // 2)
        y[..., :-1, :-1] = self._convolve(x)
        y[..., -1:, :] = self._convolve(F.pad(x[..., -2:, :], (0, 1, 0, 1)))
        y[..., :-1, -1:] = self._convolve(F.pad(x[..., :-1, -2:], (0, 1, 0, 0)))
        return y

    def _convolve(self, x: Tensor) -> Tensor:
        """The convolution without padding, `[B, C, H, W]` to `[B, O, (H - 1) / 2, (W - 1) / 2]`."""
        if x.shape[-1] > 4:
            return super().forward(x)
        return F.conv2d(x.mT, self.weight.mT, self.bias, stride=2).mT


class DoublingConv2d(nn.Conv2d):
    """3x3 convolution of a picture enlarged to twice its size by nearest neighbour; `[B, C, H, W]` to `[B, O, 2 H, 2 W]`.

    Several of the nine inputs of an output are the same pixel. With their weights added up, the outputs of one parity are a
    2x2 convolution of `x` itself: 4 products instead of 9.

        row of x               i-1         i         i+1
        output row 2 i         k0       k1 + k2
        output row 2 i + 1            k0 + k1        k2
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, O, 2 H, 2 W]`."""
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        taps = x.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # [parity, row of x, row of the kernel]
        filters = torch.einsum("aiy,bjx,ocyx->abocij", taps, taps, self.weight)  # [2, 2, O, C, 2, 2]
        if torch.is_grad_enabled():
            h, w = x.shape[-2:]
            parts = [[F.conv2d(x, filters[a, b], self.bias, padding=1)[..., a : a + h, b : b + w] for b in (0, 1)] for a in (0, 1)]
            return torch.stack([torch.stack(row, dim=-1) for row in parts], dim=3).flatten(4).flatten(2, 3)
        height, width = x.shape[-2:]
        y = empty_like_layout(x, len(x), self.out_channels, 2 * height, 2 * width)
        for a in (0, 1):
            for b in (0, 1):
                part = F.conv2d(x, filters[a, b], self.bias, padding=1)  # `[B, O, H + 1, W + 1]`
                y[..., a::2, b::2] = part[..., a : a + height, b : b + width]
        return y
