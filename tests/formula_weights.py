"""Weights by a formula: small networks whose outputs were recorded with the authors' classes, without a file of weights."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def formula(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Lively weights for names and shapes; each depends on the place of its name among the sorted ones."""
    out = {}
    for i, (name, shape) in enumerate(sorted(shapes.items())):
        v = torch.sin(torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * (1.7 + 0.31 * i) + i).view(*shape)
        if len(shape) == 1:
            out[name] = (1 + 0.2 * v if name.endswith("weight") else 0.1 * v).float()
        else:
            out[name] = (v * 1.5 / v[0].numel() ** 0.5).float()
    return out


def wave(*shape: int, rate: float = 0.7) -> Tensor:
    """Numbers in -1..1 of a shape, always the same."""
    return torch.sin(torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * rate).view(*shape).float()
