"""2-D convolution that takes the fastest way at hand."""

import torch
from torch import Tensor, nn

from .norm import lean
from .winograd import convolve3x3, pays


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`; on a CPU, without gradients, wide 3x3 filters go through `winograd.py`. Values are equal up to rounding."""

    def quick(self, x: Tensor) -> bool:
        """Whether `x [B, C, H, W]` goes that way."""
        plain = self.kernel_size == (3, 3) and self.padding == (1, 1) and self.padding_mode == "zeros" and self.groups == 1
        unit = self.stride == self.dilation == (1, 1)
        return plain and unit and lean(x) and not torch.compiler.is_compiling() and pays(x, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, O, H', W']`."""
        return convolve3x3(x, self.weight, self.bias) if self.quick(x) else super().forward(x)
