"""Plain ids, such as those that a language model generated, converted to `Tokens` of a tokenizer.

    tokens_of(tokenizer, ids, grid=(16, 16))

Letters: B batch, K codebooks, L token positions, h w grid.
"""

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from .identity import identity_of
from .spec import AudioSpec
from .token_checks import (
    MEDIA,
    allowed_codebooks,
    book_grids,
    check_layout,
    check_sizes,
    fixed_grid,
    is_clips,
    one_frame,
    scales_of,
    strides_of,
)
from .token_fields import TokenError, rates, rows, tensor
from .tokens import Tokens

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

#: What `decode` takes besides `Tokens`: integers `[B, K, L]`, or `[K, L]` of one item.
Ids = Tensor | np.ndarray | Sequence[Any]


def tokens_of(
    tokenizer: "Tokenizer",
    ids: Ids,
    *,
    grid: Any = None,
    sizes: Any = None,
    sample_rate_hz: Any = None,
    lengths: Any = None,
) -> Tokens:
    """Ids as `Tokens` of `tokenizer`, checked; see `Tokenizer.tokens`."""
    spec, found = tokenizer.spec, _integers(ids)
    _check_axes(tokenizer, found)
    k, facts = found.shape[1], dict[str, Any]()
    if lengths is not None:
        facts["lengths"] = rows("lengths", lengths, "[B]", found, low=1, high=found.shape[2])
    if isinstance(spec, AudioSpec):
        if grid is not None and tuple(grid) != (found.shape[2],):
            raise TokenError(f"grid is {grid!r:.60}; {tokenizer.family} decodes sound, a plain sequence: leave it out.")
        facts |= _sound(tokenizer, spec, found, facts.get("lengths"), sizes, sample_rate_hz)
    else:
        if sample_rate_hz is not None:
            raise TokenError(f"{tokenizer.family} decodes {MEDIA[spec.modality]}, which have no sample rate; leave sample_rate_hz out.")
        facts = _layout(tokenizer, found, grid, whole=lengths is None) | facts
        facts["sizes"] = None if sizes is None else _one_each("sizes", sizes, len(found), 1)
    tokens = Tokens(
        ids=found,
        vocab_sizes=spec.vocab_sizes[:k],
        strides=strides_of(tokenizer)[:k],
        scales=scales_of(tokenizer, facts.get("grid")),
        names=spec.names[:k],
        **facts,
    )
    tokens = one_frame(tokenizer, tokens)
    check_layout(tokenizer, tokens)
    check_sizes(tokenizer, tokens)
    return tokens.made_by(identity_of(tokenizer))


def _integers(ids: Any) -> Tensor:
    """A tensor, array or nested list of ids as int64 `[B, K, L]`; raises TokenError."""
    allowed = "a tensor, array or list of whole numbers [B, K, L], or [K, L] of one item"
    if isinstance(ids, (str, bytes, os.PathLike)):
        raise TokenError(f"got {type(ids).__name__} {str(ids)!r:.60}; decode takes Tokens, or {allowed}. A file: Tokens.load(path).")
    try:
        if isinstance(ids, (list, tuple)) and ids and all(isinstance(x, Tensor) for x in ids):
            ids = torch.stack(list(ids))
        found = ids if isinstance(ids, Tensor) else torch.from_numpy(np.array(ids, dtype=_kind(ids)))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TokenError(f"got {type(ids).__name__} as ids; allowed: {allowed} ({error}).") from None
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise TokenError(f"ids are {found.dtype} {list(found.shape)}; allowed: {allowed}.")
    found = found[None] if found.ndim == 2 else found
    if found.ndim != 3 or found.numel() == 0:
        raise TokenError(f"ids have the shape {list(found.shape)}; allowed: {allowed}, none of them 0.")
    return found.long()


def _kind(ids: Any) -> type:
    """`np.int64` for ids that are integers; raises ValueError for others."""
    found = np.asarray(ids)
    if found.dtype.kind not in "iu":
        raise ValueError(f"they are {found.dtype}")
    return np.int64


def _check_axes(tokenizer: "Tokenizer", ids: Tensor) -> None:
    spec, k = tokenizer.spec, ids.shape[1]
    if k == spec.num_codebooks or ("codebooks" in spec.prefix and k < spec.num_codebooks):
        return
    hint = " The codebooks seem to be the last axis: pass ids.transpose(-1, -2)." if ids.shape[2] == spec.num_codebooks else ""
    raise TokenError(
        f"ids {list(ids.shape)} are of {k} codebooks; {tokenizer.family} decodes {allowed_codebooks(tokenizer)}, "
        f"as [B, K, L] or, of one item, [K, L].{hint}"
    )


@runtime_checkable
class _Frames(Protocol):
    def frames_of(self, ids: Tensor, lengths: Tensor) -> Tensor: ...


def _sound(
    tokenizer: "Tokenizer", spec: AudioSpec, ids: Tensor, lengths: Tensor | None, sizes: Any, sample_rate_hz: Any
) -> dict[str, Any]:
    """Fields of audio: sizes and rates. No sizes if none are given: `decode` then returns all samples of the L positions."""
    own, hop = spec.sample_rate_hz, spec.hop_samples
    if sizes is None and sample_rate_hz is None:
        return {"sample_rate_hz": own}
    rate = rates(own if sample_rate_hz is None else sample_rate_hz, ids)
    if sizes is not None:
        return {"sizes": _one_each("sizes", sizes, len(ids), 0), "sample_rate_hz": rate}
    assert isinstance(tokenizer, _Frames)
    valid = tokenizer.frames_of(ids, torch.full_like(rate, ids.shape[2]) if lengths is None else lengths)
    return {"sizes": (valid * hop * rate // own).clamp(min=1)[:, None], "sample_rate_hz": rate}


def _one_each(name: str, value: Any, batch: int, axes: int) -> Tensor:
    """`value` as `[B, n]`, from one entry (of `axes` axes) for all items or one for each; n is 1 if entries are single numbers."""
    found = tensor(name, value, "whole numbers")
    found = found[None].expand(batch, *found.shape) if found.ndim == axes else found
    return found[:, None] if found.ndim == 1 else found


def _layout(tokenizer: "Tokenizer", ids: Tensor, grid: Any, *, whole: bool) -> dict[str, Any]:
    """Fields for the grids of pictures and features, and of their codebooks; `whole`: all positions of all items are valid."""
    fixed, scales, positions = fixed_grid(tokenizer), scales_of(tokenizer), ids.shape[2]
    if grid is None and scales:
        complete = positions == sum(h * w for h, w in scales)
        return {"grid": fixed if complete and fixed == scales[-1] else ()}
    if grid is None:
        return {"grid": fixed if fixed is not None and whole and math.prod(fixed) == positions else ()}
    found = tensor("grid", grid, "(h, w), or one such pair for each item")
    if found.ndim == 1:
        one = tuple(found.tolist())
        books = book_grids(tokenizer, one, ids.shape[1])
        return {"grid": one} | ({} if books is None else {"book_grids": [books] * len(ids)})
    axes = "[B, 3]" if is_clips(tokenizer) and found.shape[-1] == 3 else "[B, 2]"
    own = rows("grid", found, axes, ids, low=1, high=positions)
    each = [book_grids(tokenizer, tuple(g), ids.shape[1]) for g in own.tolist()]
    return {"grids": own, "lengths": own.prod(1)} | ({} if None in each else {"book_grids": each})
