"""ELU (Clevert et al. 2016, arXiv 1511.07289), computed by the hyperbolic tangent on a CPU without gradients.

PyTorch's ELU uses `expm1`, which takes two and a half times as long, a third of EnCodec's whole time. With t = tanh(x / 2),
e^x - 1 is 2 t / (1 - t), exact but for the last two bits at any magnitude. `exp(x) - 1` would be faster still, but has an absolute
error of 1e-7 near 0, which changes the ids of quiet sounds.
On Intel's processors `expm1` is the faster one, but PyTorch computes the last values of a tensor by another function than those
before them: with other last bits, ids would depend on an item's place in its batch.
"""

import torch
from torch import Tensor, nn

from .fused import Fusable, on_rows
from .mode import cpu_inference


class ELU(nn.ELU, Fusable):
    """ELU activation: `x` above 0, `alpha (e^x - 1)` below."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to `[B, C, T]`; the shape stays."""
        if not cpu_inference(x) or self.alpha > 1 or x.dtype not in (torch.float32, torch.float64):
            return super().forward(x)
        if self.fuses(x) and self.alpha == 1:
            return on_rows(elu, x)
        t = x.clamp(max=0).mul_(0.5).tanh_()
        below = t.div_(1 - t).mul_(2 * self.alpha)  # 0 where x > 0, and elsewhere at least x
        return torch.maximum(x, below, out=below)


def elu(x: Tensor) -> Tensor:
    """ELU with alpha = 1 of a tensor of any shape, as a function to compile."""
    t = torch.tanh(x.clamp(max=0) * 0.5)
    return torch.maximum(x, 2 * t / (1 - t))
