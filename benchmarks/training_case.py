"""What a comparison of training steps consists of; see `training.py`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Sides:
    """Both sides of a case.

    Attributes:
        theirs: takes one optimiser step of the authors' modules on a batch; returns its losses under our names, in our scale.
        ours: builds our `TrainState` with the weights that their modules have when it is called.
        batch: the batch that both train on.
        modules: theirs, by name.
    """

    theirs: Callable[[Tensor], dict[str, Tensor]]
    ours: Callable[[], Any]
    batch: Tensor
    modules: dict[str, nn.Module] = field(default_factory=dict)


def pictures(batch: int, side: int) -> Tensor:
    """Seeded pictures `[B, 3, H, W]` in -1..1 with smooth areas and edges."""
    g = torch.Generator().manual_seed(2)
    coarse = torch.rand(batch, 3, 8, 8, generator=g) * 2 - 1
    x = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return (x + 0.1 * torch.randn(x.shape, generator=g)).clamp(-1, 1)


@torch.no_grad()
def randomize(model: nn.Module, scale: float) -> None:
    """Move what starts at constants (norms, biases), so that no weight is left out of the comparison."""
    for p in model.parameters():
        if p.ndim == 1:
            p.add_(scale * torch.randn_like(p))


def sound(batch: int, samples: int) -> Tensor:
    """Seeded clips `[B, 1, T]`: noise under a slow envelope, with a tone."""
    t = torch.arange(samples) / 8000
    noise = torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(2))
    return (0.15 * noise * torch.sin(9 * t).square() + 0.2 * torch.sin(2800 * t)).clamp(-1, 1)
