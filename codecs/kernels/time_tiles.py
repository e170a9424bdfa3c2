"""Long signals through layers piece by piece, on a CPU: a third less time, and memory that does not grow.

A layer over ten seconds of sound writes activations of tens of megabytes to fresh memory, from which the next one reads them.
In tiles of a few megabytes they stay in the processor's caches, and memory is used again. Tiles continue each other through a
`State`, so that nothing is computed twice, and equal the whole. Each level has tiles of its own size: those of an encoder's level
are made of several tiles of the level before, those of a decoder's are cut up for the level after.

Letters: B batch, C channels, T steps.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from .conv1d import join
from .mode import cpu_inference
from .stream import Layer, State, chain, module_of

#: Values of one activation in a tile, 4 MB. Larger ones leave the caches; smaller ones give the products of matrices too few
#: rows.
TILE = 1 << 20


def in_turn(layers: Iterable[Layer], x: Tensor, state: State | None = None) -> Tensor:
    """`x [B, C, T]` through `layers` one after the other, as by `stream.chain`; on a CPU without gradients in tiles.

    Args:
        layers: `Streaming` ones and functions of each step alone, which from first to last either lower the rate, as an encoder's
            do, or raise it. With a GroupNorm among them, which averages over all of time, nothing is cut.
        x: a signal, or a piece of one. Of layers that lower the rate, one that they have whole steps for.
        state: of the stream that `x` is a piece of.
    """
    layers = list(layers)
    if not cpu_inference(x) or any(isinstance(part, nn.GroupNorm) for layer in layers for part in _parts(layer)):
        return chain(layers, x, state)
    levels = _levels(layers)
    if max(level.rate for level in levels) > 1:
        return _raised(levels, x, state)
    return _lowered(levels, x, state, multiple=round(1 / math.prod(level.rate for level in levels)))


# --- the levels ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Level:
    """A layer that changes the rate, and those up to the next one.

    Attributes:
        layers: in order.
        rate: steps that come out for one that goes in.
        values: that the widest activation of one item has, for each step that goes in.
    """

    layers: list[Layer]
    rate: float
    values: float


def _levels(layers: Iterable[Layer]) -> list[_Level]:
    groups: list[list[Layer]] = []
    for layer in layers:
        if not groups or any(conv.stride[0] > 1 for conv in _convolutions(layer)):
            groups.append([])
        groups[-1].append(layer)
    return [_level(group) for group in groups]


def _level(layers: list[Layer]) -> _Level:
    rate = values = 1.0
    for conv in (conv for layer in layers for conv in _convolutions(layer)):
        values = max(values, conv.in_channels * rate)
        rate *= conv.stride[0] if isinstance(conv, nn.ConvTranspose1d) else 1 / conv.stride[0]
        values = max(values, conv.out_channels * rate)
    return _Level(layers, rate, values)


def _parts(layer: Layer) -> Iterable[nn.Module]:
    module = module_of(layer)
    return module.modules() if isinstance(module, nn.Module) else ()


def _convolutions(layer: Layer) -> list[nn.Conv1d | nn.ConvTranspose1d]:
    return [part for part in _parts(layer) if isinstance(part, (nn.Conv1d, nn.ConvTranspose1d))]


def _weights(level: _Level) -> int:
    """Numbers that are read for every tile, so that no tile should have fewer."""
    return sum(p.numel() for layer in level.layers for part in _parts(layer) for p in part.parameters(recurse=False))


# --- their tiles --------------------------------------------------------------------------------------------------------


def _lowered(levels: Sequence[_Level], x: Tensor, state: State | None, *, multiple: int) -> Tensor:
    """The levels of an encoder; `multiple` steps of `x` are one of the last level."""
    *before, own = levels

    def run(part: Tensor, state: State | None) -> Tensor:
        return chain(own.layers, _lowered(before, part, state, multiple=multiple) if before else part, state)

    values = own.values * math.prod(level.rate for level in before)
    return _tiled(run, x, state, values=values, weights=_weights(own), multiple=multiple)


def _raised(levels: Sequence[_Level], x: Tensor, state: State | None) -> Tensor:
    """The levels of a decoder."""
    own, *after = levels

    def run(part: Tensor, state: State | None) -> Tensor:
        y = chain(own.layers, part, state)
        return _raised(after, y, state) if after else y

    return _tiled(run, x, state, values=own.values, weights=_weights(own))


def _tiled(run: Layer, x: Tensor, state: State | None, *, values: float, weights: int, multiple: int = 1) -> Tensor:
    """`run(x, state)` of `x [B, C, T]` in tiles of a multiple of `multiple` steps.

    All but the last are of one length, whatever T: oneDNN prepares, and keeps, a convolution for every length that it meets.
    """
    size = max(1, int(max(TILE, weights) / (values * len(x) * multiple))) * multiple
    if x.shape[-1] < 1.5 * size:
        return run(x, state)
    last = state is None or state.ending
    state = State() if state is None else state
    out, parts = [], x.split(size, dim=-1)
    for i, part in enumerate(parts):
        state.ending = last and i == len(parts) - 1
        out.append(run(part, state))
    return join(out)
