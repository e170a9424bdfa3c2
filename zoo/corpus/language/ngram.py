"""Interpolated n-grams: bits an id on items that were held out.

Witten and Bell 1991, interpolated: with n occurrences of a context and d different ids in it, an id that occurred c times in it has
p = (c + d p') / (n + d), p' being the probability in the next shorter context and, below all, 1 / V. Items begin with as many marks
as the longest context has ids.

Letters: N ids of the training items, M of the held-out ones, V codebook size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..splits import places
from .counting import joined, labels
from .sources import Item

#: Ids of the longest n-gram.
LONGEST = 3
#: Share of the items that are held out.
HELD_OUT = 0.1


@dataclass(frozen=True)
class HeldOut:
    """Cross entropy of held-out ids.

    Attributes:
        bits: an id.
        perplexity: 2 to that power.
        ids: M.
        train_ids: N.
    """

    bits: float
    perplexity: float
    ids: int
    train_ids: int


def parts(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Training and held-out items, by their keys alone: items of one key are in the same part in every corpus."""
    held = places(item.key for item in items) >= 1 - HELD_OUT
    return [x for x, out in zip(items, held, strict=True) if not out], [x for x, out in zip(items, held, strict=True) if out]


def held_out(train: Sequence[np.ndarray], test: Sequence[np.ndarray], vocab_size: int) -> dict[int, HeldOut]:
    """By n from 1 to `LONGEST`; empty where either part has no ids.

    Args:
        train, test: ids `[L]` of each item.
        vocab_size: V.
    """
    count, total = sum(len(x) for x in train), sum(len(x) for x in test)
    if not count or not total:
        return {}
    columns = [joined([_before(x, i, vocab_size) for x in (*train, *test)]) for i in range(LONGEST)]
    chance, context, out = np.full(total, 1 / vocab_size), np.zeros(len(columns[0]), np.int64), {}
    for n in range(1, LONGEST + 1):
        if n > 1:
            context = labels(context, columns[n - 1])
        cell = labels(context, columns[0])
        number = np.bincount(context[:count], minlength=int(context.max()) + 1)
        first = np.unique(cell[:count], return_index=True)[1]
        different = np.bincount(context[first], minlength=len(number))
        times = np.bincount(cell[:count], minlength=int(cell.max()) + 1)
        here, d = number[context[count:]], different[context[count:]]
        chance = np.where(here > 0, (times[cell[count:]] + d * chance) / np.maximum(1, here + d), chance)
        bits = float(-np.log2(chance).mean())
        out[n] = HeldOut(bits, 2**bits, total, count)
    return out


def _before(ids: np.ndarray, number: int, mark: int) -> np.ndarray:
    """The id `number` before each id, `mark` where there is none."""
    return np.concatenate([np.full(min(number, len(ids)), mark, np.int64), ids[: max(0, len(ids) - number)]])
