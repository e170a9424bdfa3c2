"""Optimisers from their configs, learning rates as pure functions of the step, and the update itself in any precision."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .config import OptimizerConfig, ScheduleConfig
from .finite import NonFiniteLoss, clip

#: Devices on which torch has Adam as one kernel.
_FUSED = ("cpu", "cuda", "mps", "xpu")
#: Key of a parameter group's factor on the learning rate; groups without one have 1.
RATE = "rate"


def build_optimizer(
    config: OptimizerConfig, parameters: Iterable[nn.Parameter], *, rates: Mapping[nn.Parameter, float] | None = None
) -> torch.optim.Optimizer:
    """Return Adam or AdamW over the trainable `parameters`; only tensors of two or more axes have weight decay.

    Where torch can, it is fused: one pass over memory in place of about ten, four times as fast on a CPU.

    Args:
        config: its settings.
        parameters: in an order that is the same when the run is resumed.
        rates: factors on the learning rate of some of them; of the others it is 1.
    """
    rates = rates or {}
    trained = [p for p in parameters if p.requires_grad]
    groups: list[dict[str, Any]] = []
    for factor in sorted({rates.get(p, 1.0) for p in trained}, key=lambda f: (f != 1, f)):  # 1 first, as before there were others
        alike = [p for p in trained if rates.get(p, 1.0) == factor]
        own = {} if factor == 1 else {RATE: factor}
        groups.append({"params": [p for p in alike if p.ndim >= 2], "weight_decay": config.weight_decay, **own})
        groups.append({"params": [p for p in alike if p.ndim < 2], "weight_decay": 0.0, **own})
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    fused = all(p.device.type in _FUSED and p.is_floating_point() for p in trained)
    return kind([g for g in groups if g["params"]], lr=config.lr, betas=config.betas, eps=config.eps, fused=fused or None)


def rate(schedule: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """Return the learning rate of update number `step` (from 0) in a run of `steps` updates."""
    if step < schedule.warmup_steps:
        return peak * (schedule.first_ratio + (1 - schedule.first_ratio) * (step + 1) / schedule.warmup_steps)
    passed = step - schedule.warmup_steps
    if schedule.kind in ("cosine", "linear"):
        share = min(1.0, passed / (schedule.length or max(1, steps - schedule.warmup_steps)))
        left = 1 - share if schedule.kind == "linear" else 0.5 * (1 + math.cos(math.pi * share))
        return peak * (schedule.final_ratio + (1 - schedule.final_ratio) * left)
    if schedule.kind == "exponential":
        return peak * max(schedule.final_ratio, schedule.gamma**passed)
    if schedule.kind == "inverse_sqrt":
        return peak * max(schedule.final_ratio, math.sqrt(schedule.warmup_steps / step))
    if schedule.kind == "drops":
        return peak * max(schedule.final_ratio, schedule.gamma ** sum(step >= s for s in schedule.at))
    return peak


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Give all parameter groups the learning rate `value`, times the factor of those that have one."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get(RATE, 1.0)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Run networks in `precision`, "float32", "bfloat16" or "float16", inside the context."""
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def update(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    parameters: Sequence[nn.Parameter],
    limit: float,
    step: int,
    what: str,
) -> Tensor:
    """Clip the gradient norm of `parameters`, update them, and return the norm before clipping.

    Args:
        optimizer: of these parameters.
        scaler: by which the loss was scaled. Where it is in use (float16), a gradient that overflowed is dropped with its step,
            and the next loss is scaled less.
        limit: largest norm; 0: none.
        step, what: for messages.

    Raises:
        NonFiniteLoss: the gradient is not finite, in float16 at any scale.
    """
    scaler.unscale_(optimizer)
    norm = clip(parameters, limit, step, what, finite=not scaler.is_enabled())
    scaler.step(optimizer)
    scaler.update()
    if scaler.is_enabled() and scaler.get_scale() < 1:
        raise NonFiniteLoss(f"step {step}: the gradient of {what} does not fit into float16. Take bfloat16 or float32.")
    return norm
