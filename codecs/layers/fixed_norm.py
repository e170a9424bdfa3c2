"""Batch norm on stored statistics, in training too."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FixedNorm(nn.Module):
    """Batch norm on stored statistics, in training too; `[B, C, ...]` (Emu3, Paella).

    Differs: the authors trained with BatchNorm; updating the statistics here would let ids depend on the batch.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, ...]` with the stored statistics."""
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, training=False, eps=1e-5)
