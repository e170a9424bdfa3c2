"""Signals in pieces that continue each other: the protocol of layers `(x, state)`.

Every such layer takes an optional `State`, a plain dictionary that holds what each layer must remember between two pieces. Without
it a layer takes `x` for the whole signal. Pieces, the last one marked by `State.ending`, equal the whole for layers that look ahead
too: those give less at first and the rest at the end.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

#: A `Streaming` layer, any other module or function of one tensor, or a `functools.partial` of either.
Layer = Callable[..., Tensor]


class State(dict[nn.Module, Any]):
    """What a stream remembers: for each layer (by identity) the tail of its input or output.

    `ending` is set for the last piece: layers that hold samples back (padding by reflection needs the samples that it
    mirrors) then complete them.
    """

    ending: bool = False


def select_rows(state: State, rows: Sequence[int]) -> State:
    """The state of some rows of a batch, as if they alone had come so far.

    All tensors of a state have the batch as their first dimension; the other values are the same for all rows.
    """
    out = type(state)({layer: _selected(value, list(rows)) for layer, value in state.items()})
    out.ending = state.ending
    return out


def progress(state: State) -> Hashable:
    """How far a state has come: equal for states that `join_rows` can join."""
    return type(state), state.ending, frozenset((layer, _frame(value)) for layer, value in state.items())


def join_rows(states: Sequence[State]) -> State:
    """One state of the rows of all `states`, in order; their `progress` must be equal."""
    first = states[0]
    out = type(first)({layer: _joined([s[layer] for s in states]) for layer in first})
    out.ending = first.ending
    return out


def _selected(value: Any, rows: list[int]) -> Any:
    if isinstance(value, Tensor):
        return value[rows]
    return tuple(_selected(v, rows) for v in value) if isinstance(value, tuple) else value


def _frame(value: Any) -> Hashable:
    """What must agree: shapes beside the batch, and values that are no tensors."""
    if isinstance(value, Tensor):
        return value.shape[1:]
    return tuple(map(_frame, value)) if isinstance(value, tuple) else value


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    return tuple(map(_joined, zip(*parts, strict=True))) if isinstance(first, tuple) else first


def rows_first(last: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The last state of an LSTM, `[layers, B, D]` twice, with the batch first."""
    return last[0].transpose(0, 1), last[1].transpose(0, 1)


def layers_first(last: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
    """Inverse of `rows_first`, as an LSTM takes it."""
    return None if last is None else (last[0].transpose(0, 1).contiguous(), last[1].transpose(0, 1).contiguous())


class Streaming(nn.Module):
    """Base of layers whose `forward` takes `(x, state)`."""

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the layer; see the module's docstring for `state`."""
        raise NotImplementedError


def module_of(layer: Layer) -> Layer:
    """The module or function itself, where `layer` is a `partial` of it."""
    return layer.func if isinstance(layer, partial) else layer


def chain(layers: Iterable[Layer], x: Tensor, state: State | None = None) -> Tensor:
    """`x` through `layers` one after the other; `state` goes to those that are `Streaming`."""
    for layer in layers:
        x = layer(x, state) if isinstance(module_of(layer), Streaming) else layer(x)
    return x
