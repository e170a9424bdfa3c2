"""Streaming: the interface `(x, state)` of layers that compute a signal in consecutive pieces.

Every such layer takes an optional `State`, a dictionary of what each layer must keep between two pieces. Without it, `x` is the
whole signal. The outputs for all pieces, the last one marked by `State.ending`, equal the output for the whole signal. This also
holds for layers with look-ahead: their outputs are shorter at first, and the last piece completes them.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

#: A `Streaming` layer, any other module or function of one tensor, or a `functools.partial` of either.
Layer = Callable[..., Tensor]


class State(dict[nn.Module, Any]):
    """State of a stream: for each layer (by identity) the tail of its input or output.

    `ending` is True for the last piece: layers that delay samples (for look-ahead, or padding by reflection at the end) then return
    the remaining ones.
    """

    ending: bool = False


class StepState(State):
    """A state of tensors `[B, ...]` of constant shapes, all zero before the first piece, which a graph can take and return.

    Every piece is a whole number of frames, and at least as long as a layer's padding by reflection; no piece is the last one. Rows
    of a batch need not be equally far: a row whose tensors are set to zero begins anew.
    """


def select_rows(state: State, rows: Sequence[int]) -> State:
    """The state of some rows of a batch, equal to that of a stream of these rows only.

    All tensors of a state have the batch as their first axis; other values are the same for all rows.
    """
    out = type(state)({layer: _selected(value, list(rows)) for layer, value in state.items()})
    out.ending = state.ending
    return out


def progress(state: State) -> Hashable:
    """The progress of a stream as a hashable value: equal for states that `join_rows` can join."""
    return type(state), state.ending, frozenset((layer, _frame(value)) for layer, value in state.items())


def join_rows(states: Sequence[State]) -> State:
    """One state with the rows of all `states`, in order; the `progress` of all must be equal."""
    first = states[0]
    out = type(first)({layer: _joined([s[layer] for s in states]) for layer in first})
    out.ending = first.ending
    return out


def _selected(value: Any, rows: list[int]) -> Any:
    if isinstance(value, Tensor):
        return value[rows]
    return tuple(_selected(v, rows) for v in value) if isinstance(value, tuple) else value


def _frame(value: Any) -> Hashable:
    """The part of a state that must be equal to join rows: shapes without the batch axis, and values that are not tensors."""
    if isinstance(value, Tensor):
        return value.shape[1:]
    return tuple(map(_frame, value)) if isinstance(value, tuple) else value


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    return tuple(map(_joined, zip(*parts, strict=True))) if isinstance(first, tuple) else first


def rows_first(last: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The last state of an LSTM, two tensors `[layers, B, D]`, with the batch axis first: `[B, layers, D]`."""
    return last[0].transpose(0, 1), last[1].transpose(0, 1)


def layers_first(last: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
    """The inverse of `rows_first`, for the input of an LSTM; None stays None."""
    return None if last is None else (last[0].transpose(0, 1).contiguous(), last[1].transpose(0, 1).contiguous())


class Streaming(nn.Module):
    """Base of layers whose `forward` takes `(x, state)`."""

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the layer; with `state`, `x` is the next piece of a stream, see the top of the file."""
        raise NotImplementedError


def module_of(layer: Layer) -> Layer:
    """The module or function itself, where `layer` is a `partial` of it."""
    return layer.func if isinstance(layer, partial) else layer


def chain(layers: Iterable[Layer], x: Tensor, state: State | None = None) -> Tensor:
    """Apply `layers` in order to `x`; `state` is passed to those that are `Streaming`."""
    for layer in layers:
        x = layer(x, state) if isinstance(module_of(layer), Streaming) else layer(x)
    return x
