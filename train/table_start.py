"""Initialises codebooks by k-means from the whole batch of a step if `accumulation` splits the batch into parts.

In a forward pass a quantizer receives one part only. So before the step each part passes through the tokenizer up to the first
quantizer that is not initialised; k-means runs on the latents of all parts together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..codecs.quantizers.base import Quantizer
from ..codecs.quantizers.parts.codebook import Codebook, only_start
from .data.loader import Batch
from .optim import autocast
from .randomness import randomness_kept
from .state import TrainState


def start_tables(state: TrainState, parts: Sequence[Batch]) -> None:
    """Start k-means, in every quantizer that waits for it, with the latents of all `parts` of a step.

    Nothing else changes: no statistics, no random state. A quantizer with `kmeans_batches` above 1 needs several steps.
    """
    done: list[Quantizer] = []
    while len(parts) > 1 and (waiting := [q for q in _waiting(state.tokenizer) if q not in done]):
        calls = [call for part in parts if (call := _first_call(state, part, waiting)) is not None]
        if len(calls) < len(parts):
            return  # these quantizers take no part in the forward
        quantizer, first = calls[0].quantizer, calls[0]
        masks = [c.mask for c in calls if c.mask is not None]
        z = torch.cat([c.z for c in calls])
        with only_start(len(parts)), torch.no_grad(), torch.autocast(z.device.type, enabled=False), randomness_kept():
            quantizer._quantize(z.float(), first.grid, torch.cat(masks) if masks else None)
        done.append(quantizer)


@dataclass(frozen=True)
class _Call:
    """What a quantizer's `forward` was called with."""

    quantizer: Quantizer
    z: Tensor
    grid: tuple[int, ...] | None
    mask: Tensor | None


class _Reached(Exception):
    """Ends a forward pass at the first quantizer that is not initialised, with the arguments of its call."""

    def __init__(self, call: _Call) -> None:
        super().__init__()
        self.call = call


def _waiting(module: nn.Module) -> list[Quantizer]:
    """Outermost quantizers with a table that has not started."""
    if isinstance(module, Quantizer):
        books = [b for b in module.modules() if isinstance(b, Codebook)]
        return [module] if not module.frozen and not all(b.is_ready() for b in books) else []
    return [q for child in module.children() for q in _waiting(child)]


def _first_call(state: TrainState, part: Batch, waiting: Sequence[Quantizer]) -> _Call | None:
    """The first call of one of `waiting` in the tokenizer's forward of `part`; None: there is none."""

    def stop(quantizer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert isinstance(quantizer, Quantizer)
        z = named["z"] if "z" in named else args[0]
        raise _Reached(_Call(quantizer, z.detach(), named.get("grid"), named.get("mask")))

    hooks = [q.register_forward_pre_hook(stop, with_kwargs=True) for q in waiting]
    part = part.to(state.device)
    try:
        with randomness_kept(), autocast(state.config.precision, part.x.device):
            state.tokenizer(part.x, *state.features(state.objective.targets(part.x, part.partners)))
    except _Reached as reached:
        return reached.call
    finally:
        for hook in hooks:
            hook.remove()
    return None
