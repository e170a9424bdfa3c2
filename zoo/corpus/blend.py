"""`Blend`: samples of several corpora, each as often as its weight says.

    speech, music = TokenDataset("speech", block=1024), TokenDataset("music", block=1024)
    data = Blend([speech, music], weights=[3, 1])         # three samples of speech for one of music
    for batch in data.loader(32): ...                     # as of one corpus; `source` tells them apart

Of every `ROUND` positions each corpus has its share exactly, in an order drawn from the seed. Within a corpus samples come in
its own order, epoch after epoch. As everywhere, the sample at a position follows from the position and the settings alone.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .samples import Samples

#: Positions after which all shares are exact; no share may be smaller than one of them.
ROUND = 10_000


class Blend(Samples):
    """Samples of several data sets.

    Args:
        data: the data sets, with one id space: packings whose vocabularies are equal. Corpora of several tokenizers share one
            through a `packing.json` with all of them (see `vocabulary.py`).
        weights: how often each comes, relative to the others; None: in proportion to their lengths.
        seed: of the order of the corpora; that of the samples is each data set's own.

    Raises:
        ValueError: no data set, another number of weights, a weight that is not above 0 or below 1/10000 of their sum, or data
            sets whose samples do not fit into one batch.
    """

    def __init__(self, data: Sequence[Samples], weights: Sequence[float] | None = None, *, seed: int = 0) -> None:
        self.parts = list(data)
        if not self.parts:
            raise ValueError("give at least one data set to blend.")
        given = [float(len(d)) for d in self.parts] if weights is None else [float(w) for w in weights]
        if len(given) != len(self.parts):
            raise ValueError(f"got {len(given)} weights for {len(self.parts)} data sets.")
        if not all(math.isfinite(w) and w > 0 for w in given):
            raise ValueError(f"weights are {given}; each must be a number above 0. Leave out a data set that is not to be used.")
        self._check_samples()
        self.packing = self.parts[0].packing
        self.seed = seed
        #: positions of each data set in a round, in sum `ROUND`
        self.quotas = _quotas(given)
        self._round = -1
        self._source = self._turn = np.zeros(0, np.int64)

    def _check_samples(self) -> None:
        first = self.parts[0].packing
        for i, part in enumerate(self.parts):
            if not len(part):
                raise ValueError(f"data set {i} of the blend is empty; leave it out.")
            packing = part.packing
            if packing.vocabulary != first.vocabulary:
                raise ValueError(
                    f"data sets 0 and {i} have different id spaces, so one id would mean two things. Give both a packing over one "
                    "vocabulary that holds all their tokenizers (`packing=`)."
                )
            if packing.streamed != first.streamed or (packing.streamed and len(packing.vocab_sizes) != len(first.vocab_sizes)):
                raise ValueError(f"samples of data sets 0 and {i} have different shapes: {first} and {packing}.")

    def __len__(self) -> int:
        """Sum of the lengths of all data sets; which of them have come round by then depends on the weights, see `used`."""
        return sum(len(p) for p in self.parts)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at a position: that of its data set, and `source`, int64, the number of the data set."""
        source, own = self.place(position)
        return self.parts[source][own] | {"position": torch.tensor(position), "source": torch.tensor(source)}

    def place(self, position: int) -> tuple[int, int]:
        """(data set, position in it) of the sample at a position."""
        if position < 0:
            raise IndexError(f"position {position}; allowed: from 0.")
        number, at = divmod(position, ROUND)
        if number != self._round:
            self._source = np.random.default_rng((self.seed, number)).permutation(np.repeat(np.arange(len(self.parts)), self.quotas))
            self._turn = np.zeros(ROUND, np.int64)
            for i, quota in enumerate(self.quotas):
                self._turn[self._source == i] = np.arange(quota)
            self._round = number
        source = int(self._source[at])
        return source, number * self.quotas[source] + int(self._turn[at])

    def used(self, position: int) -> list[int]:
        """How many samples of each data set the positions below `position` hold; more than its length: it has come round."""
        number, at = divmod(position, ROUND)
        self.place(position)
        inside = np.bincount(self._source[:at], minlength=len(self.parts))
        return [number * q + int(n) for q, n in zip(self.quotas, inside, strict=True)]

    def settings(self) -> dict[str, Any]:
        """See `Samples`."""
        return {"quotas": list(self.quotas), "seed": self.seed, "blend": [p.settings() for p in self.parts]}


def _quotas(weights: Sequence[float]) -> tuple[int, ...]:
    """Positions of each weight in a round, by largest remainders."""
    relative = [w / max(weights) for w in weights]
    exact = [w / math.fsum(relative) * ROUND for w in relative]
    if min(exact) < 1:
        raise ValueError(f"weights are {list(weights)}; the smallest is below 1/{ROUND} of their sum and would hardly ever come.")
    out = [int(e) for e in exact]
    for i in sorted(range(len(out)), key=lambda i: out[i] - exact[i])[: ROUND - sum(out)]:
        out[i] += 1
    return tuple(out)
