"""Saves and restores the random generators of a process: in checkpoints, and so that validation does not affect training."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of all random generators of this process, as tensors and plain containers."""
    name, keys, *rest = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *(x for x in rest)],
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_all(seed: int) -> None:
    """Seed the random generators of this process, those of Python and NumPy too: modules of the user may draw from them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # takes no others
    torch.manual_seed(seed)


@contextmanager
def randomness_kept(seed: int | None = None) -> Iterator[None]:
    """Context manager: random numbers may be drawn inside; afterwards all generators have their former state.

    Args:
        seed: of torch's generators inside; None: they keep their current state.
    """
    before = random_state()
    if seed is not None:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        set_random_state(before)
