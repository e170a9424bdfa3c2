"""Long signals through convolutions piece by piece, on a CPU: a third less time, and memory that does not grow.

A layer over ten seconds of sound writes activations of tens of megabytes to fresh memory, from which the next one reads them.
In tiles of a few megabytes they stay in the processor's caches, and memory is used again. Tiles continue each other through a
`State`, so that nothing is computed twice, and equal the whole.

Letters: B batch, C channels, T steps, L frames.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from ..layers.causal import State
from .conv1d import join
from .norm import lean

#: Values of one activation in a tile, 4 MB. Larger ones leave the caches; smaller ones give the products of matrices too few
#: rows.
TILE = 1 << 20

#: A layer or a row of them on a piece: `(x, state)` to what is ready, less at first and more at the end where it looks ahead.
Layer = Callable[[Tensor, State | None], Tensor]


class Level(NamedTuple):
    """A level of an encoder or decoder.

    Attributes:
        run: its layers.
        values: that its widest activation has for one step of one item: of the waveform (encoder), of its own input
            (decoder).
        weights: that it reads for every tile, so that no tile should be smaller.
    """

    run: Layer
    values: float
    weights: int


def level_of(run: Layer, values: float, *modules: nn.Module) -> Level:
    """A `Level` with the weights of `modules`."""
    return Level(run, values, sum(p.numel() for m in modules for p in m.parameters()))


def in_tiles(own: Level, x: Tensor, state: State | None, *, multiple: int = 1) -> Tensor:
    """`own.run(x, state)` of `x [B, C, T]` in tiles of a multiple of `multiple` steps.

    All but the last are of one length, whatever T: oneDNN prepares, and keeps, a convolution for every length that it meets.
    """
    size = max(1, int(max(TILE, own.weights) / (own.values * len(x) * multiple))) * multiple
    if not lean(x) or x.shape[-1] < 1.5 * size:
        return own.run(x, state)
    last = state is None or state.ending
    state = State() if state is None else state
    out, parts = [], x.split(size, dim=-1)
    for i, part in enumerate(parts):
        state.ending = last and i == len(parts) - 1
        out.append(own.run(part, state))
    return join(out)


def down_in_tiles(levels: Sequence[Level], x: Tensor, state: State | None, *, multiple: int) -> Tensor:
    """The levels of an encoder one after the other; a level's tile is what several tiles of the level before give.

    Args:
        levels: from the waveform on.
        x: `[B, C, T]`.
        state: see `causal.py`.
        multiple: steps of `x` that give one step of the last level.
    """
    *before, own = levels

    def run(part: Tensor, state: State | None) -> Tensor:
        return own.run(down_in_tiles(before, part, state, multiple=multiple) if before else part, state)

    return in_tiles(own._replace(run=run), x, state, multiple=multiple)


def up_in_tiles(levels: Sequence[Level], x: Tensor, state: State | None) -> Tensor:
    """The levels of a decoder one after the other; a level's tile is cut up for the next one.

    Args:
        levels: from the frames on.
        x: `[B, C, L]`.
        state: see `causal.py`.
    """
    own, *after = levels

    def run(part: Tensor, state: State | None) -> Tensor:
        y = own.run(part, state)
        return up_in_tiles(after, y, state) if after else y

    return in_tiles(own._replace(run=run), x, state)


def encoder_in_tiles(stem: nn.Conv1d, levels: nn.ModuleList, x: Tensor, state: State | None) -> Tensor:
    """A stem and levels that each end in a strided `conv`, in tiles; `[B, C, T]` to `[B, C', L]`."""
    steps, parts = 1, [level_of(stem, stem.out_channels, stem)]
    for part in cast("Iterable[Any]", levels):
        parts.append(level_of(part, part.conv.in_channels / steps, part))
        steps *= part.conv.stride[0]
    return down_in_tiles(parts, x, state, multiple=steps)


def decoder_in_tiles(
    levels: nn.ModuleList, last: Layer, x: Tensor, state: State | None, noise: Sequence[Tensor] | None = None
) -> Tensor:
    """Levels that each begin with a transposed `conv`, and what follows them, in tiles; `noise` of every level, if it takes any."""
    parts, width = [], 0
    for i, part in enumerate(cast("Iterable[Any]", levels)):
        width = part.conv.out_channels
        run = part if noise is None else partial(part, noise=noise[i])
        parts.append(level_of(run, width * part.conv.stride[0], part))
    return up_in_tiles([*parts, level_of(last, width)], x, state)
