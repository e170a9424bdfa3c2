"""Spans of positions that are hidden in training: a learned vector in place of what was there (wav2vec 2.0, HuBERT).

Baevski et al. 2020, arXiv 2006.11477, section 3.1; UniCodec (arXiv 2502.20067) hides frames between encoder and transformer.
Letters: B batch, D width, L positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...config import ConfigError


@dataclass(frozen=True, kw_only=True)
class SpanMaskConfig:
    """Settings of `SpanMask`.

    Attributes:
        rate: length of all spans together, as a share of the positions; spans may overlap, so somewhat fewer are hidden. 0: none, in a
            stage before or after.
        length: positions of a span.
        least: smallest number of spans of an item.
    """

    rate: float = 0.1
    length: int = 3
    least: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1 or min(self.length, self.least) < 1:
            raise ConfigError(
                f"rate is {self.rate}, length {self.length}, least {self.least}; need 0 <= rate <= 1, and the others at least 1."
            )


class SpanMask(nn.Module):
    """Hides spans of `[B, D, L]`."""

    def __init__(self, width: int, config: SpanMaskConfig) -> None:
        super().__init__()
        self.config = config
        self.vector = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of `[B, D, L]`, and where something is hidden, bool `[B, L]`."""
        hidden = spans(x.shape[0], x.shape[2], self.config, x.device)
        return torch.where(hidden[:, None], self.vector[:, None].to(x.dtype), x), hidden


def spans(batch: int, positions: int, config: SpanMaskConfig, device: torch.device) -> Tensor:
    """Draw what is hidden, bool `[B, L]`: as many positions of each item, at most all but one.

    Raises:
        ValueError: fewer positions than a span and one more.
    """
    c, hidden = config, torch.zeros(batch, positions, dtype=torch.bool, device=device)
    if not c.rate:
        return hidden
    if positions <= c.length:
        raise ValueError(f"{positions} positions are too few: spans of {c.length} need {c.length + 1} or more. Take longer crops.")
    wanted = c.rate * positions / c.length
    count = int(wanted + float(torch.rand(())))  # so that it is `wanted` on average
    count = min(max(count, c.least), positions - c.length)
    first = torch.rand(batch, positions - c.length, device=device).topk(count, dim=1).indices  # [B, count]
    hidden.scatter_(1, (first[..., None] + torch.arange(c.length, device=device)).flatten(1), True)
    # of items with more hidden positions than another, some are seen again: losses get rectangles
    each = int(hidden.sum(1).min())
    kept = torch.where(hidden, torch.rand(hidden.shape, device=device), torch.full((), -1.0, device=device)).topk(each, dim=1).indices
    return torch.zeros_like(hidden).scatter_(1, kept, True)
