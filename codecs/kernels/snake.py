"""Snake: an activation with a learned period (Ziyin et al. 2020, arXiv 2006.08195), used in BigVGAN, DAC and others.

On a CPU without gradients it needs one buffer, or after `fuse` one pass over memory.

Letters: B batch, C channels, T steps.
"""

import torch
from torch import Tensor, nn

from ..precision import widened
from .fused import Fusable, on_rows
from .mode import cpu_inference


class Snake(Fusable):
    """`x + sin(a x)^2 / a` with a learned `a` for each channel of `[B, C, T]` (DAC, arXiv 2306.06546)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to `[B, C, T]`; the shape stays."""
        return _snake(self, x, self.alpha, _inverse(self.alpha))


class SnakeBeta(Fusable):
    """`x + sin(e^a x)^2 / e^b` with learned `a` and `b` for each channel (BigVGAN, arXiv 2206.04658)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to `[B, C, T]`."""
        alpha, beta = self.alpha.exp()[:, None], self.beta.exp()[:, None]
        return _snake(self, x, alpha, _inverse(beta))


def _inverse(x: Tensor) -> Tensor:
    """1 / (x + 1e-9), at most the largest number of the dtype of `x`: with an infinite height, snake(0) would be NaN."""
    return (widened(x) + 1e-9).reciprocal().clamp(max=torch.finfo(x.dtype).max).to(x.dtype)


def snake(x: Tensor, period: Tensor, height: Tensor) -> Tensor:
    """`x + height sin(period x)^2` of rows `[N, C]` or signals `[B, C, T]`, as a function to compile."""
    return torch.addcmul(x, torch.sin(period * x).square(), height)


def _snake(module: Fusable, x: Tensor, period: Tensor, height: Tensor) -> Tensor:
    if module.fuses(x):
        return on_rows(snake, x, period.flatten(), height.flatten())
    if cpu_inference(x):  # with one buffer
        return torch.addcmul(x, (period * x).sin_().square_(), height)
    return snake(x, period, height)
