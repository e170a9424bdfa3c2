"""Mean and deviation over time, weighted by attention: ECAPA-TDNN's pooling (Desplanques et al. 2020, arXiv 2005.07143, section 3.1).

Letters: B batch, D width, N frames.
"""

import torch
from torch import Tensor, nn


class AttentiveStatistics(nn.Module):
    """Mean and deviation over time, `[B, D, N]` to `[B, 2 D]`, with weights for each channel and frame.

    Args:
        width: D.
        attention: channels of the attention.
        context: the attention also sees the plain mean and deviation of each channel.
    """

    def __init__(self, width: int, attention: int, *, context: bool = False) -> None:
        super().__init__()
        self.context = context
        self.score_in = nn.Conv1d(3 * width if context else width, attention, 1)
        self.score_out = nn.Conv1d(attention, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pool `[B, D, N]`."""
        seen = x
        if self.context:
            deviation = (x.var(2, keepdim=True, unbiased=False) + 1e-7).sqrt()
            seen = torch.cat([x, x.mean(2, keepdim=True).expand_as(x), deviation.expand_as(x)], dim=1)  # [B, 3 D, N]
        weights = self.score_out(self.score_in(seen).tanh()).softmax(dim=2)
        mean = (weights * x).sum(2)
        variance = (weights * x**2).sum(2) - mean**2
        return torch.cat([mean, variance.clamp(min=1e-4, max=1e4).sqrt()], dim=1)
