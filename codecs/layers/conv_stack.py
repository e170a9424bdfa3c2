"""What convolutional encoders and decoders share: large pictures in pieces, and their place beside compiled graphs."""

import torch
from torch import Tensor, nn

from .norm import lean
from .tiles import uncompiled


class ConvStack(nn.Module):
    """An encoder or decoder of levels; a subclass writes `run`, and asks `too_large` before each level.

    Without gradients, a level whose feature map would hold more than `whole_values` numbers goes through piece by piece,
    with the same result up to rounding (`tiles.py`): memory stays bounded, time is up to four times as long. Attention
    needs the whole grid: a level that has it always goes through at once; there memory grows with the number of
    positions and time with its square.

    On a CPU a stack stays outside the graphs of `torch.compile`: the convolutions are PyTorch's either way, the compiler's
    GroupNorm takes longer than ours, and a minute for each graph is saved (figures: `benchmarks/results/image.md`).
    """

    #: 1 GB: pictures of two megapixels through 128 channels.
    whole_values: int = 1 << 28
    #: Side of a piece, in positions of the level's input.
    side: int = 512

    def forward(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """Apply the stack."""
        return self._outside(x, *more) if lean(x) else self.run(x, *more)

    @uncompiled
    def _outside(self, x: Tensor, *more: Tensor | None) -> Tensor:
        return self.run(x, *more)

    def run(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """What `forward` does."""
        raise NotImplementedError

    def too_large(self, values: int) -> bool:
        """Whether a feature map of so many numbers, over the batch, is made in pieces."""
        return values > self.whole_values and not torch.is_grad_enabled()
