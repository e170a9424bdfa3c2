"""Residual units of signals: a branch and the input that it is added to, delayed in a stream until the branch has its output.

    class Unit(Residual1d):     # x + conv(act(x))
        def branch(self): return [self.act, self.conv]

Letters: B batch, C channels, T steps.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ..recomputable import Recomputable
from .conv1d import join
from .mode import cpu_inference, watched
from .stream import Layer, State, StepState, Streaming, chain


class Residual1d(Streaming, Recomputable):
    """`skip(x) + branch(x)`: base of residual units `[B, C, T]`; a subclass defines the layers of the branch.

    Attributes:
        skip: a `Streaming` layer applied to the input before it is added; None: the input is added unchanged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip: nn.Module | None = None

    def branch(self) -> Sequence[Layer]:
        """The layers of the branch, in order."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the unit to `[B, C, T]`; with `state`, to the next piece of a stream."""
        layers = self.branch()
        y = chain(layers, x, state)
        x = x if self.skip is None else self.skip(x, state)
        if state is not None and not isinstance(state, StepState):  # keep the steps of x for which the branch has no output yet
            x = join([state[self], x]) if self in state and state[self].shape[-1] else x
            x, state[self] = x[..., : y.shape[-1]], x[..., y.shape[-1] :].clone()
        last = layers[-1]
        ours = isinstance(last, (nn.Conv1d, nn.ConvTranspose1d)) and not watched(last)  # y is a new tensor, used nowhere else
        return y.add_(x) if ours and cpu_inference(y) else x + y
