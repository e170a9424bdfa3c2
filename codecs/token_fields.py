"""Checks of the fields of `Tokens`: types, shapes, ranges, and consistency. All raise the same error class.

Letters: B batch, K codebooks, L token positions, V codebook size, S loudness segments.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .identity import TokenizerId

#: Highest sampling rate in Hz; resampling to higher ones would fill the memory.
MAX_RATE_HZ = 10_000_000
#: Largest extent of a medium along one axis, in pixels or samples.
MAX_EXTENT = 1 << 48
#: Largest side of a grid: the product of two is an int64.
MAX_SIDE = 1 << 31
#: Largest vocabulary: ids are int64.
MAX_VOCAB = 1 << 62


class TokenError(ValueError):
    """Invalid tokens: a field of a wrong type, shape or range, or fields that contradict each other."""


# --- one field ------------------------------------------------------------------------------------------------------


def id_tensor(ids: Any) -> Tensor:
    """Check `ids` and return them as int64 `[B, K, L]`."""
    if not isinstance(ids, Tensor):
        raise TokenError(f"ids must be a tensor [B, K, L]; got {type(ids).__name__}. tokenizer.tokens(ids) takes arrays and lists.")
    if not _has_values(ids):
        raise TokenError("ids must be a dense tensor with values; got one that is sparse, quantized or on the device meta.")
    if ids.ndim != 3 or not _is_integer(ids) or ids.shape[1] == 0:
        raise TokenError(f"ids must be integers [B, K, L] with K of 1 or more; got {ids.dtype} {list(ids.shape)}.")
    return ids.long()


def whole_numbers(name: str, values: Any, *, low: int, high: int, count: int | None = None) -> tuple[int, ...]:
    """`values` as a tuple of integers in `low..high`; with `count` this number of them, or none."""
    if isinstance(values, Tensor):
        values = values.tolist()
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise TokenError(f"{name} must be a tuple of whole numbers; got {type(values).__name__} {values!r:.60}.")
    out = []
    for value in values:
        try:
            number = operator.index(value)
        except TypeError:
            raise TokenError(f"{name} must hold whole numbers; got {value!r:.60} ({type(value).__name__}).") from None
        if isinstance(value, bool) or not low <= number <= high:
            raise TokenError(f"{name} holds {value!r:.60}; allowed: whole numbers of {low} to {high}.")
        out.append(number)
    if out and count is not None and len(out) != count:
        raise TokenError(f"{name} has {len(out)} entries for K={count} codebooks; it must have one for each.")
    return tuple(out)


def vocabularies(values: Any, count: int) -> tuple[int, ...]:
    """Check the vocabulary sizes V of `count` codebooks and return them as a tuple."""
    sizes = whole_numbers("vocab_sizes", values, low=1, high=MAX_VOCAB)
    if len(sizes) != count:
        raise TokenError(f"vocab_sizes has {len(sizes)} entries for K={count} codebooks.")
    return sizes


def scale_grids(values: Any) -> tuple[tuple[int, int], ...]:
    """Check the grids `(h, w)` of the scales, coarse to fine, and return them as a tuple; it may be empty."""
    if isinstance(values, Tensor):
        values = values.tolist()
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise TokenError(f"scales must be a tuple of pairs (h, w); got {type(values).__name__} {values!r:.60}.")
    pairs = [whole_numbers("scales", pair, low=1, high=MAX_EXTENT) for pair in values]
    if any(len(pair) != 2 for pair in pairs):
        raise TokenError(f"scales must be pairs (h, w); got {pairs!r:.80}.")
    return tuple((h, w) for h, w in pairs)


def on_host(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with whole numbers of other devices on the CPU, by one transfer for all of a device; the rest unchanged."""
    out, by_device = dict(values), dict[torch.device, list[str]]()
    for name, value in values.items():
        if isinstance(value, Tensor) and value.device.type != "cpu" and _has_values(value) and _is_integer(value):
            by_device.setdefault(value.device, []).append(name)
    for names in by_device.values():
        flat = torch.cat([values[n].flatten().long() for n in names]).cpu()
        parts = flat.split([values[n].numel() for n in names])
        out |= {n: part.view(values[n].shape) for n, part in zip(names, parts, strict=True)}
    return out


def rows(name: str, values: Any, axes: str, ids: Tensor, *, low: int, high: int) -> Tensor:
    """`values` as int64 on the CPU, of the shape `axes` ("[B, K, 2]"; "n": any number from 1), in `low..high`."""
    found = tensor(name, values, "whole numbers")
    known = {"B": ids.shape[0], "K": ids.shape[1]}
    shape = [known.get(axis) if not axis.isdigit() else int(axis) for axis in axes.strip("[]").split(", ")]
    fits = found.ndim == len(shape) and all((n > 0 if m is None else n == m) for n, m in zip(found.shape, shape, strict=True))
    if not _is_integer(found) or not fits:
        raise TokenError(f"{name} must be {axes} whole numbers for ids {list(ids.shape)}; got {found.dtype} {list(found.shape)}.")
    found = found.long().cpu()
    if found.numel() and not (low <= int(found.min()) and int(found.max()) <= high):
        raise TokenError(f"{name} lie in {int(found.min())}..{int(found.max())}; allowed: {low} to {high}.")
    return found


def item_grids(value: Any, ids: Tensor) -> Tensor:
    """Grids of items as int64 `[B, 2]` of pictures, or `[B, 3]` of clips."""
    found = rows("grids", value, "[B, n]", ids, low=0, high=MAX_SIDE)
    if found.shape[1] not in (2, 3):
        raise TokenError(f"grids must be (h, w) of pictures, [B, 2], or (t, h, w) of clips, [B, 3]; got {list(found.shape)}.")
    return found


def side_vectors(value: Any, ids: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Check side vectors and return them as float32 `[n, D]`, one for each item and name, on the device of `ids`, all finite."""
    if not isinstance(value, Mapping) or not all(isinstance(n, str) and n and isinstance(v, Sequence) for n, v in value.items()):
        raise TokenError(f"side_vectors must be a mapping of names to one tensor [n, D] for each item; got {value!r:.80}.")
    out = {}
    for name, items in value.items():
        found = [tensor(f"side_vectors[{name!r:.60}]", v, "numbers") for v in items]
        shapes = [list(v.shape) for v in found]
        if len(found) != len(ids) or not all(v.ndim == 2 and v.is_floating_point() for v in found):
            raise TokenError(f"side_vectors[{name!r:.60}] must be floats [n, D] for each of {len(ids)} items; got {shapes!s:.80}.")
        out[name] = tuple(v.to(ids.device, torch.float32) for v in found)
        if out[name] and not bool(torch.stack([torch.isfinite(v).all() for v in out[name]]).all()):
            raise TokenError(f"side_vectors[{name!r:.60}] holds NaN or infinite values.")
    return out


def rates(value: Any, ids: Tensor) -> Tensor:
    """Sampling rates in Hz as int64 `[B]`, from one number for all items or one for each."""
    if isinstance(value, (bool, float)):
        raise TokenError(f"sample_rate_hz is {value!r}; it must be a whole number of Hz, or one for each item.")
    found = tensor("sample_rate_hz", value, "whole numbers of Hz")
    found = found.expand(len(ids)).clone() if found.ndim == 0 else found
    return rows("sample_rate_hz", found, "[B]", ids, low=1, high=MAX_RATE_HZ)


def factors(value: Any, ids: Tensor) -> Tensor:
    """Check loudness factors and return them as float32 `[B, S]`, all finite."""
    found = tensor("scale", value, "numbers")
    if found.ndim != 2 or len(found) != len(ids) or found.shape[1] == 0 or found.is_complex() or found.dtype == torch.bool:
        raise TokenError(f"scale must be numbers [B={len(ids)}, S]; got {found.dtype} {list(found.shape)}.")
    found = found.to(ids.device, torch.float32)
    if not bool(torch.isfinite(found).all()):
        raise TokenError("scale holds NaN or infinite values; loudness factors are finite.")
    return found


def texts(name: str, values: Any, count: int) -> tuple[str, ...]:
    """Check the names of `count` codebooks, one for each or none at all, and return them as a tuple."""
    if isinstance(values, str) or not isinstance(values, Sequence) or not all(isinstance(v, str) for v in values):
        raise TokenError(f"{name} must be a tuple of names; got {values!r:.80}.")
    if values and len(values) != count:
        raise TokenError(f"{name} must have one entry for each of {count} codebooks; got {len(values)}.")
    return tuple(values)


def maker(value: Any) -> TokenizerId | None:
    """Check that `value` is a `TokenizerId` or None, and return it."""
    if value is not None and not isinstance(value, TokenizerId):
        raise TokenError(f"tokenizer must be a TokenizerId or None; got {type(value).__name__}. Take tokenizer.identity.")
    return value


def tensor(name: str, value: Any, what: str) -> Tensor:
    """`value` as a tensor; `what` describes the allowed values in the error message."""
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TokenError(f"{name} must be {what}; got {type(value).__name__} {value!r:.60} ({error!s:.200}).") from None
    if not _has_values(found):
        raise TokenError(f"{name} must be {what}; got a tensor that is sparse, quantized or without values.")
    return found


def _has_values(t: Tensor) -> bool:
    return t.layout == torch.strided and not t.is_meta and not t.is_quantized


def _is_integer(t: Tensor) -> bool:
    return not t.is_floating_point() and not t.is_complex() and t.dtype != torch.bool


# --- fields together ------------------------------------------------------------------------------------------------


def check_grid(grid: tuple[int, ...], scales: tuple[tuple[int, int], ...], positions: int) -> None:
    """Raise TokenError unless the grid has L places, or L is at most the places of all `scales` of a multi-scale layout."""
    if scales:
        total = sum(math.prod(s) for s in scales)
        if positions > total or grid not in ((positions,), scales[-1]):
            raise TokenError(
                f"grid {grid} and {positions} positions do not fit the scales {scales} with {total} positions; "
                f"allowed: grid ({positions},), or that of the finest scale."
            )
    elif len(grid) > 3 or math.prod(grid) != positions:
        raise TokenError(f"grid {grid} has {math.prod(grid)} places, but there are {positions} positions; the two must be equal.")


def check_items(
    lengths: Tensor, grids: Tensor | None, book_grids: Tensor | None, strides: tuple[int, ...], sizes: Tensor | None
) -> None:
    """Check fields of items against their lengths.

    Raises:
        TokenError: an item's grid, or the largest grid of its codebooks, has not as many places as the item has positions; or an
            item with positions has a size of 0.
    """
    if sizes is not None and bool(((sizes == 0).any(dim=1) & (lengths > 0)).any()):
        raise TokenError(f"sizes lie in {int(sizes.min())}..{int(sizes.max())}; allowed: 1 to {MAX_EXTENT}.")
    if book_grids is not None and strides:
        raise TokenError("strides and book_grids contradict each other: both define how many ids each codebook has. Leave one out.")
    if grids is not None and [math.prod(g) for g in grids.tolist()] != lengths.tolist():
        raise TokenError(f"grids {grids.tolist()} do not have as many places as the items have positions, {lengths.tolist()}.")
    if book_grids is not None:
        most = (book_grids[..., 0] * book_grids[..., 1]).amax(dim=1)
        if bool((most != lengths).any()):
            raise TokenError(
                f"of book_grids the largest of each item must have as many places as the item has positions, "
                f"{lengths.tolist()}; they have {most.tolist()}."
            )


def own_ids(ids: Tensor, lengths: Tensor, book_grids: Tensor | None) -> Tensor:
    """`ids` with 0 at positions beyond an item's length or a codebook's own grid, which token files do not store.

    Lengths and grids are on the CPU.
    """
    own = lengths[:, None] if book_grids is None else book_grids[..., 0] * book_grids[..., 1]  # [B, 1 or K]
    if ids.numel() == 0 or int(own.min()) == ids.shape[2]:
        return ids
    own = own.to(ids.device, non_blocking=True)
    return ids.masked_fill(torch.arange(ids.shape[2], device=ids.device) >= own[..., None], 0)


def check_ids(ids: Tensor, vocab_sizes: tuple[int, ...], lengths: Tensor, strides: tuple[int, ...]) -> None:
    """Raise TokenError unless ids lie in `0..V-1` of their codebooks, and are equal within each stride: one transfer to the host.

    Lengths are on the CPU.
    """
    if ids.numel() == 0:
        return
    found = [ids.amin(dim=(0, 2)), ids.amax(dim=(0, 2))]
    slow = [k for k, stride in enumerate(strides) if stride > 1]
    if slow:
        places = torch.arange(1, ids.shape[2], device=ids.device)  # each is compared with the one before, which lies within `own` too
        own = places < lengths.to(ids.device, non_blocking=True)[:, None]
        differ = [((ids[:, k, 1:] != ids[:, k, :-1]) & (places % strides[k] != 0) & own).any() for k in slow]
        found.append(torch.stack(differ).long())
    values = torch.cat(found).tolist()
    count = len(vocab_sizes)
    for k, (v, low, high) in enumerate(zip(vocab_sizes, values[:count], values[count : 2 * count], strict=True)):
        if low < 0 or high >= v:
            item, position = ((ids[:, k] < 0) | (ids[:, k] >= v)).nonzero()[0].tolist()
            raise TokenError(
                f"id {int(ids[item, k, position])} at [{item}, {k}, {position}] lies outside codebook {k}, that is, "
                f"outside its vocabulary 0..{v - 1}."
            )
    for k, differs in zip(slow, values[2 * count :], strict=True):
        stride = strides[k]
        if differs:
            raise TokenError(
                f"ids of codebook {k} differ inside its stride: it holds one for every {stride} positions, repeated to fill them. Pass "
                f"ids[:, {k}, ::{stride}].repeat_interleave({stride}, dim=-1)."
            )
