"""Signals in pieces that continue each other: the protocol of layers `(x, state)`.

Every such layer takes an optional `State`, a plain dictionary that holds what each layer must remember between two pieces. Without
it a layer takes `x` for the whole signal. Pieces, the last one marked by `State.ending`, equal the whole for layers that look ahead
too: those give less at first and the rest at the end.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn

#: A `Streaming` layer, any other module or function of one tensor, or a `functools.partial` of either.
Layer = Callable[..., Tensor]


class State(dict[nn.Module, Any]):
    """What a stream remembers: for each layer (by identity) the tail of its input or output.

    `ending` is set for the last piece: layers that hold samples back (padding by reflection needs the samples that it
    mirrors) then complete them.
    """

    ending: bool = False


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
