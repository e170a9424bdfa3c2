"""What convolutional encoders and decoders share: large pictures in pieces, and their place beside compiled graphs."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from .norm import lean


class ConvStack(nn.Module):
    """An encoder or decoder of levels; a subclass writes `run`, and asks `too_large` before each level.

    Without gradients, a level whose feature map would hold more than `whole_values` numbers goes through piece by piece,
    with the same result up to rounding (`tiles.py`): memory stays bounded, time is up to four times as long. Attention
    needs the whole grid: a level that has it always goes through at once; there memory grows with the number of
    positions and time with its square.

    On a CPU a stack stays outside the graphs of `tokenizer.compile()`: the compiler's convolutions are no faster than ours, its
    GroupNorm takes longer, and a minute for each graph is saved (figures: `benchmarks/results/image.md`).
    """

    #: 1 GB: pictures of two megapixels through 128 channels.
    whole_values: int = 1 << 28
    #: Side of a piece, in positions of the level's input.
    side: int = 512

    _outside: Callable[..., Tensor] | None = None

    def forward(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """Apply the stack."""
        return self._outside(x, *more) if self._outside is not None and lean(x) else self.run(x, *more)

    def stay_outside(self) -> None:
        """From now on `torch.compile` leaves the stack as it is, on a CPU without gradients."""
        self._outside = cast(Callable[..., Tensor], torch.compiler.disable(self.run))  # loads the compiler, so not before it is wanted

    def run(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """What `forward` does."""
        raise NotImplementedError

    def too_large(self, values: int) -> bool:
        """Whether a feature map of so many numbers, over the batch, is made in pieces."""
        return values > self.whole_values and not torch.is_grad_enabled()
