"""State dicts as trainers save them: wrappers, averages beside raw weights, losses, counters. The raw weights differ, so that it shows
which ones a layout takes."""

from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]


def other(state: State, seed: int = 5) -> State:
    """The same names and shapes, other numbers."""
    g = torch.Generator().manual_seed(seed)
    floats = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.is_floating_point()}
    return state | {k: torch.randn(v.shape, generator=g).to(v.dtype) for k, v in floats.items()}


def losses() -> State:
    """What taming's losses leave in a checkpoint: a perceptual net, a discriminator."""
    return {
        "loss.perceptual_loss.lin0.model.1.weight": torch.ones(1, 4, 1, 1),
        "loss.discriminator.main.0.weight": torch.ones(4, 3, 4, 4),
        "loss.discriminator.main.3.num_batches_tracked": torch.tensor(3),
    }


def lightning(state: State) -> State:
    """A Lightning checkpoint: the state dict with losses beside it, counters, callbacks."""
    callbacks = {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "dirpath": "ckpts"}}
    return {"epoch": 3, "global_step": 17, "pytorch-lightning_version": "1.0.8", "state_dict": state | losses(), "callbacks": callbacks}


def lightning_average(state: State) -> State:
    """As `lightning`, with averages: they hold `state`, the weights beside them other numbers."""
    averages = {"model_ema." + k.replace(".", ""): v for k, v in state.items()}
    counters = {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(9, dtype=torch.int32)}
    return lightning(other(state) | averages | counters)


def average_beside(state: State, average: str = "ema", raw: str = "model") -> State:
    """Two state dicts side by side: the averaged one holds `state`."""
    return {raw: other(state), average: state, "optimizer": {"state": {}, "param_groups": []}, "steps": 9}
