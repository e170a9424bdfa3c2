"""2-D convolutions with the fastest available implementation: `nn.Conv2d`, halving and doubling.

With gradients, or on other devices than CPUs, PyTorch's own implementation runs; values are equal up to rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mode import cpu_inference, empty_like_layout
from .winograd import convolve3x3, pays


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`; on a CPU, without gradients, 3x3 filters with many channels are computed by `winograd.py`."""

    def quick(self, x: Tensor) -> bool:
        """Whether `winograd.py` computes the convolution of `x [B, C, H, W]`."""
        plain = self.kernel_size == (3, 3) and self.padding == (1, 1) and self.padding_mode == "zeros" and self.groups == 1
        unit = self.stride == self.dilation == (1, 1)
        return plain and unit and cpu_inference(x) and not torch.compiler.is_compiling() and pays(x, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, H, W]` to `[B, O, H', W']`."""
        return convolve3x3(x, self.weight, self.bias) if self.quick(x) else super().forward(x)


class HalvingConv2d(nn.Conv2d):
    """3x3 convolution of stride 2, zeros on the right and below; `[B, C, H, W]` to `[B, O, H / 2, W / 2]`.

    Only the last row and column of outputs depend on the zeros; on a CPU these are computed separately, without a padded copy of
    the picture.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, O, H / 2, W / 2]`."""
        height, width = x.shape[-2:]
        convolve = super().forward
        if not cpu_inference(x) or height % 2 or width % 2 or min(height, width) < 4:
            return convolve(F.pad(x, (0, 1, 0, 1)))
        y = empty_like_layout(x, len(x), self.out_channels, height // 2, width // 2)
        y[..., :-1, :-1] = convolve(x)
        y[..., -1:, :] = convolve(F.pad(x[..., -2:, :], (0, 1, 0, 1)))
        y[..., :-1, -1:] = convolve(F.pad(x[..., :-1, -2:], (0, 1, 0, 0)))
        return y


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
        if not cpu_inference(x):
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        taps = x.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # [parity, row of x, row of the kernel]
        filters = torch.einsum("aiy,bjx,ocyx->abocij", taps, taps, self.weight)  # [2, 2, O, C, 2, 2]
        height, width = x.shape[-2:]
        y = empty_like_layout(x, len(x), self.out_channels, 2 * height, 2 * width)
        for a in (0, 1):
            for b in (0, 1):
                part = F.conv2d(x, filters[a, b], self.bias, padding=1)  # `[B, O, H + 1, W + 1]`
                y[..., a::2, b::2] = part[..., a : a + height, b : b + width]
        return y
