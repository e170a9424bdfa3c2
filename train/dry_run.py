"""`tokenzoo train CONFIG --dry-run`: build all parts of a run, take one step on noise, and say what it is and what it needs."""

import dataclasses
import resource
import sys
import time
from collections.abc import Iterable

import torch
from torch import nn

from .config import RunConfig
from .data import open_clips
from .data.stream import StreamClips
from .state import TrainState
from .step import train_step


def dry_run(config: RunConfig) -> dict[str, str]:
    """Facts of a run as short texts; nothing is written, and no weight is kept.

    The step is the heaviest one: discriminators train in it, whatever `adversarial_start` is.

    Raises:
        ConfigError: parts that do not fit each other, or data that are not there.
        ValueError: a crop that is too small for a loss.
    """
    state = TrainState(dataclasses.replace(config, adversarial_start=0))
    media = config.data.media(state.tokenizer.spec)
    clips = open_clips(config.data.train, media, dataclasses.replace(config.data, cache="none"), seed=config.seed)
    parts = config.accumulation * state.world
    x = torch.rand(config.batch_size // parts, *media.shape, generator=torch.Generator().manual_seed(0)) * 0.2
    with torch.no_grad():
        out = state.tokenizer.eval()(x[:1].to(state.device), *state.features(state.objective.targets(x[:1].to(state.device))))
    seconds = time.monotonic()
    values = train_step(state, [x] * config.accumulation)
    seconds = time.monotonic() - seconds
    items = "a stream" if isinstance(clips, StreamClips) else f"{len(clips):,} items"
    weights = {name: f"{c.weight:g} x {name}" for name, c in config.losses.items()}
    facts = {
        "tokenizer": f"{state.tokenizer.family}, {_number(state.tokenizer.parameters())} parameters",
        "trained": f"{_number(state.trained)} parameters",
        "data": f"{items}; a step takes {config.batch_size} crops of {list(media.shape)}",
        "latents and ids": f"{list(out.z.shape[1:])} and {list(out.quantized.ids.shape[1:])} of a crop",
        "losses": ", ".join(weights.values()),
    }
    if state.adversary:
        names = ", ".join(sorted(config.discriminators))
        facts["discriminators"] = f"{names}, {_number(state.adversary.parameters)} parameters, from step {config.adversarial_start}"
    if config.teachers:
        facts["teachers"] = f"{', '.join(sorted(config.teachers))}, {_number(state.objective.teachers.parameters())} parameters"
    return facts | {
        "first step": f"loss {float(values['loss/total']):.4g} on noise, {seconds:.2f} s on {state.device}",
        "memory": _memory(state.device),
        "length": f"{config.steps:,} steps, {config.steps * config.batch_size:,} crops",
        "output": config.output,
    }


def _number(parameters: Iterable[nn.Parameter]) -> str:
    count = sum(p.numel() for p in parameters)
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"


def _memory(device: torch.device) -> str:
    """The most memory that the process has taken so far."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MiB on the GPU at most"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"{peak / 2**20:,.0f} MiB at most, Python and libraries included"
