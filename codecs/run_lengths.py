"""Run lengths: tokens without repeats, and how long each lasts; the form in which speech units go into language models.

    runs = collapse(tokens)            # [B, K + 1, R]: the ids of each run, and its duration
    expand(runs)                       # equal to `tokens`, every field
    collapse(tokens).first(codebooks=1)  # of one codebook: ids without repeats alone (GSLM, TWIST), from which there is no way back

A run is a stretch of positions whose ids are equal in all codebooks. The result is `Tokens` like any others: they have a file, and
every packing of several codebooks (`zoo/corpus/packing`) takes them.

Letters: B batch, K codebooks, L positions, R runs.
"""

from dataclasses import replace

import torch
from torch import Tensor

from .tokens import TokenError, Tokens

#: Name of the codebook of durations, and of codebooks that had no names.
DURATION, UNNAMED = "duration", "run"


def collapse(tokens: Tokens, *, longest: int = 256) -> Tokens:
    """Tokens of runs `[B, K + 1, R]`: K ids and a duration for each run.

    Args:
        tokens: plain sequences `[B, K, L]`, ragged or not: no grids, no multi-rate and no multi-scale layout.
        longest: vocabulary of the last codebook, whose id d stands for d + 1 positions. A longer run becomes several.

    Returns:
        `Tokens` whose last codebook is named "duration"; `lengths` counts runs. Sizes, rates and identity are those of `tokens`.

    Raises:
        TokenError: another layout, codebooks that are named "duration" or "run", or `longest` below 1.
    """
    if longest < 1:
        raise TokenError(f"longest is {longest}; a run lasts 1 position or more.")
    if tokens.strides or tokens.scales or tokens.grids is not None or tokens.book_grids is not None or len(tokens.grid) != 1:
        raise TokenError("run lengths are those of plain sequences; these tokens have a grid, or codebooks of several rates or scales.")
    if {DURATION, UNNAMED} & set(tokens.names):
        raise TokenError(f"codebooks are named {sorted(set(tokens.names))}: these are run lengths already.")
    items = [_runs(ids[:, :n], longest) for ids, n in zip(tokens.ids, _lengths(tokens), strict=True)]
    names = (*(tokens.names or (UNNAMED,) * tokens.num_codebooks), DURATION)
    return _batch(tokens, items, (*tokens.vocab_sizes, longest), names)


def expand(runs: Tokens) -> Tokens:
    """Inverse of `collapse`: tokens `[B, K, L]`, each run's ids repeated for its duration.

    Also of tokens whose tokenizer has a codebook of durations itself (FlexiCodec), wherever it stands. Positions that lie past all
    items of the original batch are not restored: L is the longest item's length.

    Raises:
        TokenError: there is no codebook of durations beside others.
    """
    if runs.num_codebooks < 2 or runs.names.count(DURATION) != 1:
        raise TokenError(f"only tokens with several codebooks, one named {DURATION!r}, are runs; names: {runs.names or 'none'}.")
    at = runs.names.index(DURATION)
    keep = [k for k in range(runs.num_codebooks) if k != at]
    cut = [item[:, :n] for item, n in zip(runs.ids, _lengths(runs), strict=True)]
    items = [ids[keep].repeat_interleave(ids[at] + 1, dim=1) for ids in cut]
    names = tuple(runs.names[k] for k in keep)
    return _batch(runs, items, tuple(runs.vocab_sizes[k] for k in keep), () if set(names) == {UNNAMED} else names)


def _lengths(tokens: Tokens) -> list[int]:
    lengths = tokens.on_host("lengths")
    assert lengths is not None  # never missing
    return lengths.tolist()


def _runs(ids: Tensor, longest: int) -> Tensor:
    """Ids `[K, n]` as `[K + 1, R]`."""
    starts = torch.ones(ids.shape[1], dtype=torch.bool, device=ids.device)
    starts[1:] = (ids[:, 1:] != ids[:, :-1]).any(dim=0)
    first = starts.nonzero()[:, 0]
    lasts = torch.diff(first, append=first.new_tensor([ids.shape[1]]))  # [R]
    parts = (lasts + longest - 1) // longest  # a run longer than `longest` is that many runs, all but the last one full
    duration = torch.full((int(parts.sum()),), longest, dtype=ids.dtype, device=ids.device)
    duration[parts.cumsum(0) - 1] = lasts - (parts - 1) * longest
    return torch.cat([ids[:, first].repeat_interleave(parts, dim=1), duration[None] - 1])


def _batch(like: Tokens, items: list[Tensor], vocab_sizes: tuple[int, ...], names: tuple[str, ...]) -> Tokens:
    lengths = torch.tensor([item.shape[1] for item in items], dtype=torch.int64, device=like.ids.device)
    ids = like.ids.new_zeros(len(items), len(vocab_sizes), max(lengths.tolist(), default=0))
    for row, item in zip(ids, items, strict=True):
        row[:, : item.shape[1]] = item
    return replace(like, ids=ids, vocab_sizes=vocab_sizes, names=names, lengths=lengths, grid=(ids.shape[2],))
