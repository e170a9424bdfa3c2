"""Optimisers from their configs, and learning rates as pure functions of the step."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from .config import OptimizerConfig, ScheduleConfig


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam(W); tensors of two or more axes decay, biases, norms and scales do not."""
    trained = [p for p in parameters if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2]
    vectors = [p for p in trained if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return kind([g for g in groups if g["params"]], lr=config.lr, betas=config.betas, eps=config.eps)


def rate(schedule: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """Return the learning rate of update number `step` (from 0) in a run of `steps` updates."""
    if step < schedule.warmup_steps:
        return peak * (step + 1) / schedule.warmup_steps
    passed = step - schedule.warmup_steps
    if schedule.kind == "cosine":
        share = min(1.0, passed / max(1, steps - schedule.warmup_steps))
        return peak * (schedule.final_ratio + (1 - schedule.final_ratio) * 0.5 * (1 + math.cos(math.pi * share)))
    if schedule.kind == "exponential":
        return peak * max(schedule.final_ratio, schedule.gamma**passed)
    return peak


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Give all parameter groups the learning rate `value`."""
    for group in optimizer.param_groups:
        group["lr"] = value
