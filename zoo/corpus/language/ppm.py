"""Prediction by partial matching: the length of an adaptive code that learns while it goes, in bits.

Cleary and Witten 1984; escapes by method C of Moffat 1990: in a context seen n times with d different ids, one that occurred c times
has the probability c / (n + d), and a new one d / (n + d), upon which the next shorter context is asked. Ids of the longer context are
left out there (exclusion), and only contexts as long as the one that knew the id, and longer, count it (update exclusion). Below order
0 all ids are equally likely. Computed is the length that an arithmetic coder reaches (within 2 bits in all); no file is written.

Differs: a context that has seen all V ids leaves no room for new ones.
"""

import math
from collections.abc import Iterable

import numpy as np

#: Ids of the longest context.
ORDER = 2


class PPM:
    """The model.

    Args:
        vocab_size: V.
        order: ids of the longest context.
    """

    def __init__(self, vocab_size: int, *, order: int = ORDER) -> None:
        self.vocab_size, self.order = vocab_size, order
        self.contexts: dict[tuple[int, ...], dict[int, int]] = {}
        self.seen: dict[tuple[int, ...], int] = {}

    def add(self, ids: np.ndarray) -> float:
        """Bits of the ids `[L]` of an item; contexts begin anew with it, what was learnt stays."""
        bits, history = 0.0, ()
        for one in ids.tolist():
            bits -= math.log2(self._step(one, history))
            history = (*history, one)[-self.order :] if self.order else ()
        return bits

    def _step(self, one: int, history: tuple[int, ...]) -> float:
        """The probability of an id, which is then counted."""
        chance, longer, asked = 1.0, {}, []
        for length in range(len(history), -1, -1):
            context = history[len(history) - length :]
            known = self.contexts.setdefault(context, {})
            asked.append(context)
            # all ids of a longer context are in the shorter one, so those left out can be subtracted
            total = self.seen.get(context, 0) - sum(map(known.__getitem__, longer))
            different = len(known) - len(longer)
            escape = 0 if len(known) == self.vocab_size else different
            if one in known:
                chance *= known[one] / (total + escape)
                break
            if different:
                chance *= escape / (total + escape)
            longer = known
        else:
            chance /= self.vocab_size - len(longer)
        for context in asked:
            self.seen[context] = self.seen.get(context, 0) + 1
            known = self.contexts[context]
            known[one] = known.get(one, 0) + 1
        return chance


def ppm_bits(items: Iterable[np.ndarray], vocab_size: int, *, order: int = ORDER) -> float:
    """Bits an id over the ids of all items, the cost of learning included."""
    model, bits, count = PPM(vocab_size, order=order), 0.0, 0
    for ids in items:
        bits += model.add(ids)
        count += len(ids)
    return bits / max(1, count)
