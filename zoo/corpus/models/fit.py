"""Training of a generator on a data set."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..dataset import TokenDataset
from .base import Generator, GeneratorConfig


def fit(
    data: TokenDataset,
    config: GeneratorConfig,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Any, float]:
    """Train: AdamW, linear warm-up over a tenth of the steps, cosine to a tenth of `lr`.

    Args:
        data: training sequences, packed as `config.choice()` asks.
        config: the kind of model and its settings.
        steps, batch_size, lr: as their names say.
        seed: of the start and of masks.
        say: takes lines about progress.

    Returns:
        The model, in eval mode, and the mean loss of the last tenth of the steps, in nats an id.
    """
    torch.manual_seed(seed)
    model: Generator = config.fitted(data).build(data.packing).train()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.05)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / warm, 0.55 + 0.45 * math.cos(math.pi * s / steps)))
    history: list[float] = []
    every = max(1, min(50, steps // 20))
    start = time.monotonic()
    for step, batch in zip(range(steps), data.loader(batch_size), strict=False):
        loss = model.loss(batch, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        history.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == steps:
            bits = float(np.mean(history[-every:])) / math.log(2)
            say(f"step {step + 1} of {steps}: {bits:.3f} bits a token, {time.monotonic() - start:.0f} s")
    return model.eval(), float(np.mean(history[-max(1, steps // 10) :]))
