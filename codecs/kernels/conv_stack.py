"""Base of convolutional encoders and decoders: large pictures are computed in pieces, and stacks can be left out of compiled graphs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from .mode import channels_last, cpu_inference
from .residual2d import sequence
from .stream import Layer
from .tiles import in_pieces


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Layers of a stack that are computed together for each piece of a picture, most of them on one grid of positions.

    Attributes:
        layers: layers in order; the first one takes `[B, C, H, W]`.
        width: largest number of channels on that grid; 0: some layer needs the whole picture at once, as attention does.
        reach: positions of that grid on each side that an output depends on.
        grid: height of that grid divided by H.
        down, up: the output has `up / down` times the height and width of the input.
        align: positions of the input for each position of a second map that layers also take (`tiles.beside`); else `down`.
    """

    layers: Sequence[Layer]
    width: int
    reach: int
    grid: float = 1
    down: int = 1
    up: int = 1
    align: int = 1


class ConvStack(nn.Module):
    """An encoder or decoder of levels; a subclass writes `run`, which computes each stage with `through`.

    Without gradients, a stage whose feature map would have more than `whole_values` numbers is computed in pieces,
    with the same result up to rounding (`tiles.py`): memory stays bounded, time is up to four times as long. Attention
    needs the whole grid: a stage that has it is never cut; its memory grows with the number of positions, and its time
    with the square of that number.

    On a CPU a stack stays outside the graphs of `tokenizer.compile()`: the compiler's convolutions are no faster than ours, its
    GroupNorm takes longer, and a minute for each graph is saved (figures: `benchmarks/results/image.md`).
    """

    #: Numbers in a feature map that is not cut, 1 GB: pictures of two megapixels with 128 channels.
    whole_values: int = 1 << 28
    #: Side of a piece, in positions of the stage's input.
    side: int = 512

    #: A function whose first argument is the stack, since a bound method would run a copy with the weights of its original.
    _outside: Callable[..., Tensor] | None = None

    def forward(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """Apply the stack to `[B, C, H, W]`; further arguments are those of `run`."""
        return self._outside(self, x, *more) if self._outside is not None and cpu_inference(x) else self.run(x, *more)

    def run(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """The computation of `forward`, written by subclasses."""
        raise NotImplementedError

    def through(self, x: Tensor, stage: Stage) -> Tensor:
        """Output of a stage for `x [B, C, H, W]`, computed at once or in pieces."""

        def run(part: Tensor) -> Tensor:
            return sequence(channels_last(part), *stage.layers)

        values = x[:, 0].numel() * stage.grid**2 * stage.width
        if torch.is_grad_enabled() or values <= self.whole_values:
            return run(x)
        margin, align = math.ceil(stage.reach / stage.grid), max(stage.align, stage.down)
        return in_pieces(run, x, side=self.side, margin=margin, align=align, up=stage.up, down=stage.down)

    def stay_outside(self) -> None:
        """From now on keep the stack out of graphs of `torch.compile`, on a CPU without gradients."""
        self._outside = cast(Callable[..., Tensor], torch.compiler.disable(_run))  # imports the compiler, hence only here

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_outside": self._outside is not None}  # functions of the compiler cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({k: v for k, v in state.items() if k != "_outside"})
        if state["_outside"]:
            self.stay_outside()


def _run(stack: ConvStack, x: Tensor, *more: Tensor | None) -> Tensor:
    return stack.run(x, *more)
