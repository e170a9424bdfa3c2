"""Layers over long signals on a CPU, computed in tiles: a third less time, and memory that does not grow with the length.

A layer over ten seconds of sound writes activations of tens of megabytes to fresh memory, from which the next layer reads them.
In tiles of a few megabytes they stay in the processor's caches, and memory is used again. A `State` links consecutive tiles, so
that nothing is computed twice and the result equals that of the whole. Each level has its own tile size: a tile of an encoder's
level consists of several tiles of the level before, and a tile of a decoder's level is cut up for the level after.

Letters: B batch, C channels, T steps.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from .conv1d import join
from .mode import cpu_inference
from .stream import Layer, State, chain, module_of

#: Number of values of one activation in a tile, 4 MB. Larger tiles do not fit the caches; in smaller ones matrix products have too
#: few rows.
TILE = 1 << 20


def in_turn(layers: Iterable[Layer], x: Tensor, state: State | None = None) -> Tensor:
    """Apply `layers` in order to `x [B, C, T]`, as `stream.chain` does; on a CPU without gradients in tiles.

    Args:
        layers: `Streaming` layers, and functions of each step alone; either none of them raises the rate (an encoder) or none
            lowers it (a decoder). If one is a GroupNorm, which averages over the whole signal, the signal is not cut.
        x: a signal, or a piece of one; for layers that lower the rate, T is a multiple of their common stride.
        state: state of the stream that `x` is a piece of; None: `x` is the whole signal.
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
    """A layer that changes the rate, and the layers after it up to the next such layer.

    Attributes:
        layers: the layers in order.
        rate: number of output steps for each input step.
        values: size of the largest activation of one item, for each input step.
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
    """Number of weights, which are read for every tile, so that tiles should not be smaller."""
    return sum(p.numel() for layer in level.layers for part in _parts(layer) for p in part.parameters(recurse=False))


# --- their tiles --------------------------------------------------------------------------------------------------------


def _lowered(levels: Sequence[_Level], x: Tensor, state: State | None, *, multiple: int) -> Tensor:
    """Output of the levels of an encoder for `x [B, C, T]`; `multiple` steps of `x` are one step of the last level."""
    *before, own = levels

    def run(part: Tensor, state: State | None) -> Tensor:
        return chain(own.layers, _lowered(before, part, state, multiple=multiple) if before else part, state)

    values = own.values * math.prod(level.rate for level in before)
    return _tiled(run, x, state, values=values, weights=_weights(own), multiple=multiple)


def _raised(levels: Sequence[_Level], x: Tensor, state: State | None) -> Tensor:
    """Output of the levels of a decoder for `x [B, C, T]`."""
    own, *after = levels

    def run(part: Tensor, state: State | None) -> Tensor:
        y = chain(own.layers, part, state)
        return _raised(after, y, state) if after else y

    return _tiled(run, x, state, values=own.values, weights=_weights(own))


def _tiled(run: Layer, x: Tensor, state: State | None, *, values: float, weights: int, multiple: int = 1) -> Tensor:
    """`run(x, state)` of `x [B, C, T]`, in tiles of a multiple of `multiple` steps.

    All tiles but the last have the same length, whatever T is: oneDNN prepares and caches a convolution for every new length.
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
