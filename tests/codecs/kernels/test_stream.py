"""Layers in order, with a state for those that take one. Run: pytest tests/codecs/kernels/test_stream.py"""

from functools import partial

import torch
from tokenzoo.codecs.kernels.stream import State, Streaming, chain
from torch import Tensor


class Counts(Streaming):
    """Adds how often the stream has come by."""

    def forward(self, x: Tensor, state: State | None = None, *, times: int = 1) -> Tensor:
        """Count."""
        if state is None:
            return x
        state[self] = state.get(self, 0) + times
        return x + state[self]


def test_the_state_goes_to_streaming_layers_alone():
    layer, other, state = Counts(), Counts(), State()
    layers = [layer, torch.neg, partial(other, times=10), torch.nn.Identity()]
    x = torch.zeros(1, 1, 2)
    assert torch.equal(chain(layers, x), x)
    assert chain(layers, x, state).unique().tolist() == [-1 + 10]
    assert chain(layers, x, state).unique().tolist() == [-2 + 20]
    assert state == {layer: 2, other: 20}
