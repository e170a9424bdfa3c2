"""Random numbers that do not depend on what ran before."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def same_draws(device: torch.device, active: bool = True) -> Iterator[None]:
    """Inside the block torch draws from seed 0 on the CPU and on `device`; afterwards the generators' states are restored."""
    if not active:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield
