"""`tokenzoo train CONFIG --dry-run`: build all parts of a run, take one step on noise, and say what it is and what it needs."""

import dataclasses
import math
import resource
import sys
import time
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from .config import RunConfig, TurnsConfig
from .data import open_clips
from .data.loader import Batch, Clips
from .data.media import noise
from .data.partners import PartnerBatch
from .data.stream import StreamClips
from .pretrained import Pretrained
from .state import TrainState
from .step import train_step


def dry_run(config: RunConfig, *, init: Pretrained | None = None) -> dict[str, str]:
    """Facts of a run as short texts; nothing is written, and no weight is kept.

    The step is the heaviest one: discriminators train in it, whatever `adversarial_start` is.

    Raises:
        ConfigError: parts that do not fit each other, or data that are not there.
        ValueError: a crop that is too small for a loss.
    """
    state = TrainState(dataclasses.replace(config, adversarial_start=0, turns=TurnsConfig()), init=init)
    media = config.data.media(state.tokenizer.spec)
    clips = open_clips(config.data.train, media, dataclasses.replace(config.data, cache="none"), seed=config.seed)
    parts = config.accumulation * state.world
    largest = max(media.shapes, key=math.prod)
    x = noise(state.tokenizer.spec, config.batch_size // parts, largest)
    batch = Batch(x, partners=_partners(clips, x))
    first = Batch(x[:1], partners={name: value[:1] for name, value in batch.partners.items()}).to(state.device)
    with torch.no_grad(), state.reading(state.tokenizer, first.partners):
        out = state.tokenizer.eval()(first.x, *state.features(state.objective.targets(first.x, first.partners)))
    seconds = time.monotonic()
    values = train_step(state, [batch] * config.accumulation)
    seconds = time.monotonic() - seconds
    items = "a stream" if isinstance(clips, StreamClips) else f"{len(clips):,} items"
    weights = {name: f"{c.weight:g} x {name}" for name, c in config.losses.items()}
    facts = {
        "tokenizer": f"{state.tokenizer.family}, {_number(state.tokenizer.parameters())} parameters",
        "trained": f"{_number(state.trained)} parameters",
        "data": f"{items}; a step takes {config.batch_size} {_crops(media.shapes)}",
        "latents and ids": f"{list(out.z.shape[1:])} and {list(out.quantized.ids.shape[1:])} of a crop",
        "losses": ", ".join(weights.values()),
    }
    if state.recomputed:
        facts["computed twice"] = f"{len(state.recomputed)} blocks, to save memory"
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


def _crops(shapes: Sequence[tuple[int, ...]]) -> str:
    """Name the shapes of crops, of which each batch has one."""
    listed = ", ".join(str(list(shape)) for shape in sorted(shapes, key=math.prod))
    return f"crops of {listed}" if len(shapes) == 1 else f"crops of one of {listed}, measured here with the last"


def _partners(clips: Clips | StreamClips, x: Tensor) -> PartnerBatch:
    """Partners of a batch of noise `x`: texts and features of the first item; noise as pictures, and maps of class 0."""
    if not clips.partners.kinds:
        return {}
    sample = clips[0] if isinstance(clips, Clips) else next(iter(clips))[0]
    like: dict[str, Tensor | list[str]] = {}
    for name, value in sample.partners.items():
        if isinstance(value, str):
            like[name] = [value] * len(x)
        elif clips.partners.kinds[name].placed:
            like[name] = x if value.is_floating_point() else torch.zeros(len(x), *x.shape[2:], dtype=torch.int64)
        else:
            like[name] = value.expand(len(x), *value.shape)
    return like


def _number(parameters: Iterable[nn.Parameter]) -> str:
    count = sum(p.numel() for p in parameters)
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"


def _memory(device: torch.device) -> str:
    """The most memory that the process has taken so far."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MiB on the GPU at most"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"{peak / 2**20:,.0f} MiB at most, Python and libraries included"
