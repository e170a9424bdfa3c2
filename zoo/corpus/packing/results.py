"""Results of `pack` and `unpack`. Letters: B batch, K codebooks, L token positions, S steps of a sequence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ....codecs.identity import TokenizerId
from ....codecs.tokens import Tokens

#: Label of steps that do not count, as in `torch.nn.functional.cross_entropy`.
IGNORE = -100

#: The grid that positions unroll from: `(h, w)` of a picture, `(t, h, w)` of a clip.
Grid = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Side:
    """Side information that `decode` needs beside ids: fields of `Tokens`, see there; `positions` is L of the padded batch."""

    positions: int
    lengths: Tensor
    grid: tuple[int, ...]
    grids: Tensor | None = None
    sizes: Tensor | None = None
    sample_rate_hz: Tensor | None = None
    scale: Tensor | None = None
    side_vectors: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    tokenizer: TokenizerId | None = None

    @staticmethod
    def of(tokens: Tokens) -> "Side":
        """Take the side information from a batch of tokens."""
        return Side(
            positions=tokens.ids.shape[2],
            lengths=tokens.lengths,
            grid=tokens.grid,
            grids=tokens.grids,
            sizes=tokens.sizes,
            sample_rate_hz=tokens.sample_rate_hz,
            scale=tokens.scale,
            side_vectors=tokens.side_vectors,
            tokenizer=tokens.tokenizer,
        )

    def grid_of(self, item: int) -> Grid | None:
        """Grid of one item: `(h, w)` of a picture or a clip of one step, `(t, h, w)` of a longer clip; None where it is no grid."""
        grid = plane(self.grid if self.grids is None else self.grids[item].tolist())
        if len(grid) not in (2, 3) or math.prod(grid) != int(self.lengths[item]):
            return None
        return tuple(int(n) for n in grid)


def plane(grid: Sequence[int]) -> Sequence[int]:
    """The grid `(h, w)` of a clip of one step `(1, h, w)`; others unchanged."""
    return grid[1:] if len(grid) == 3 and grid[0] == 1 else grid


def solid(grid: Sequence[int]) -> tuple[int, int, int]:
    """The grid `(t, h, w)` of a clip; a picture `(h, w)` is a clip of one step."""
    t, h, w = (1, *grid) if len(grid) == 2 else grid
    return (t, h, w)


def beginning(grid: Grid, positions: int) -> Grid:
    """Grid of the first positions of a grid: whole rows of a picture, whole frames of a clip or whole rows of its first one."""
    *steps, h, w = grid
    if not steps:
        return (positions // w, w)
    return (positions // (h * w), h, w) if positions >= h * w else (1, positions // w, w)


@dataclass(frozen=True, eq=False)
class Packed:
    """A batch for a language model.

    Attributes:
        input_ids: int64 `[B, S]`, or `[B, K, S]` of patterns with K streams; padded with `pad` past `lengths`.
        labels: same shape, not shifted: `input_ids` where `loss_mask` holds, -100 elsewhere.
        loss_mask: bool, same shape: steps whose id the model must learn to emit.
        lengths: int64 `[B]`, steps of each item, begin and end tokens included.
        side: what `decode` needs beside ids; `unpack(packed)` uses it.
    """

    input_ids: Tensor
    labels: Tensor
    loss_mask: Tensor
    lengths: Tensor
    side: Side

    @property
    def attention_mask(self) -> Tensor:
        """Bool `[B, S]`: True on the steps of each item, False on padding; from `lengths`, not from ids."""
        steps = torch.arange(self.input_ids.shape[-1], device=self.lengths.device)
        return steps < self.lengths[:, None]

    def shifted(self) -> tuple[Tensor, Tensor, Tensor]:
        """(inputs, targets, mask), each one step shorter: target s is the id after input s. For loops that do not shift."""
        return self.input_ids[..., :-1], self.labels[..., 1:], self.loss_mask[..., 1:]


@dataclass(frozen=True)
class Problem:
    """One invalid id in the input of `unpack`.

    Attributes:
        item: which sequence of the batch.
        position: step in the sequence, as it came (begin token and prompt count).
        found: the id there.
        message: what was expected and what came.
        stream: row of a pattern with K streams, else 0.
    """

    item: int
    position: int
    found: int
    message: str
    stream: int = 0


@dataclass(frozen=True)
class Unpacked:
    """Result of `unpack`: tokens and the problems found.

    Attributes:
        tokens: the longest valid prefix of each item.
        problems: ids out of place, by item, then by position.
        ended: for each item, whether it was closed by its end token (in all streams); with `end=False`, whether it
            is whole.
    """

    tokens: Tokens
    problems: tuple[Problem, ...]
    ended: tuple[bool, ...]


@dataclass(frozen=True)
class Read:
    """What a pattern read from one sequence: own ids `[K, n]`, the grid where known, problems, and whether it ended."""

    ids: Tensor
    grid: Grid | None
    problems: tuple[Problem, ...]
    ended: bool
