"""Learns the merges of a `bpe` packing from a token corpus.

    config, report = learn_bpe("tokens", merges=4096)
    config.build().save("packing.json"); TokenDataset("tokens", packing="packing.json")

Byte-pair encoding (Sennrich et al., arXiv:1508.07909): merge the most frequent pair of neighbours everywhere, and again. Counts are
kept up to date by what each merge changes, so that its time follows from how often the pair occurs and not from the size of the corpus:
10^7 ids take minutes.

Letters: N symbols of all items one after another, M merges, W ids of all codebooks together.
"""

import heapq
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...codecs.config import ConfigError, from_mapping, to_mapping
from ..progress import Bar
from .dataset import TokenDataset
from .files import CorpusError
from .packing.base import PackingConfig
from .packing.bpe import MAX_SPAN, BpeConfig
from .plain import Choice, packing_of

#: Stands between items, and where a step holds a special token: never merged.
_GAP, _GONE = -1, -2


@dataclass(frozen=True, kw_only=True)
class BpeReport:
    """What merges save on the items that they were learned from.

    Attributes:
        items: that were read.
        before, after: steps of all of them, begin and end tokens included.
        merges: that were learned; fewer than asked for where no pair is frequent enough.
        longest: ids that the longest merge stands for.
    """

    items: int
    before: int
    after: int
    merges: int
    longest: int


def learn_bpe(
    folder: str | Path,
    *,
    merges: int = 4096,
    packing: Choice = None,
    min_frequency: int = 2,
    max_span: int = 64,
    limit: int = 0,
    progress: bool = False,
) -> tuple[BpeConfig, BpeReport]:
    """Learn merges from the items of a corpus.

    Args:
        folder: of a finished corpus.
        merges: M, ids that are added.
        packing: the pattern to merge steps of, of one id a step; None: the plain one of the corpus.
        min_frequency: times that a pair must occur.
        max_span: ids that a merged one may stand for, at most `packing/bpe.py: MAX_SPAN`.
        limit: only the first items, this many; 0: all.
        progress: show a progress bar.

    Raises:
        CorpusError: no finished corpus, or one without items.
        ConfigError: numbers out of range, or a pattern of K ids a step.
    """
    if merges < 1 or min_frequency < 2 or not 2 <= max_span <= MAX_SPAN or limit < 0:
        raise ConfigError(f"merges is {merges}, min_frequency {min_frequency}, max_span {max_span}, limit {limit}; allowed: from 1, "
                          f"from 2, 2 to {MAX_SPAN}, from 0.")  # fmt: skip
    data = TokenDataset(folder, seed=None)
    plain = packing_of(packing, data.layout, data.manifest["tokenizer"]["name"])
    empty = _config(plain, ()).build()
    rows = []
    count = min(limit or data.documents, data.documents)
    with Bar(count, "reading", show=progress) as bar:
        for i in range(count):
            tokens = data.tokens(i).first(codebooks=len(empty.vocab_sizes))
            rows.append(empty.symbols_of(empty.inner.pack(tokens).input_ids[0].numpy()))
            bar.step()
    if not rows:
        raise CorpusError(f"{folder} holds no items to learn merges from.")
    found, steps = learn_merges(rows, empty.width, merges, min_frequency=min_frequency, max_span=max_span, progress=progress)
    config = _config(plain, found)
    longest = max((len(p) for p in config.build().parts), default=1)
    before = sum(len(r) for r in rows)
    return config, BpeReport(items=len(rows), before=before, after=steps, merges=len(found), longest=longest)


def _config(plain: PackingConfig, merges: tuple[tuple[int, int], ...]) -> BpeConfig:
    """The bpe packing over a plain one, whose vocabulary gets a reserved range for the merges after its tokenizer."""
    values = to_mapping(plain)
    if values["kind"] == BpeConfig.kind:
        raise ConfigError("merges are learned over a plain pattern, not over a bpe packing.")
    common = {n: values.pop(n) for n in ("kind", "tokenizer", "vocabulary", "names", "end", "learn_begin")}
    name = f"{common['tokenizer']}-merges"
    vocabulary: dict[str, Any] = common["vocabulary"]
    range_ = {"name": name, "size": max(1, len(merges)), "after": common["tokenizer"]}
    vocabulary["reserved"] = [*vocabulary["reserved"], range_]
    out = {**common, "kind": BpeConfig.kind, "pattern": common["kind"], "settings": values, "merged": name, "merges": merges}
    config = from_mapping(PackingConfig, out)
    assert isinstance(config, BpeConfig)
    config.build()
    return config


def learn_merges(
    rows: list[np.ndarray], width: int, count: int, *, min_frequency: int = 2, max_span: int = 64, progress: bool = False
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Learn merges from symbols.

    Args:
        rows: of each item `[S]`, 0..width-1; -1 is never merged.
        width: W.
        count: M at most.
        min_frequency, max_span: as in `learn_bpe`.
        progress: show a progress bar.

    Returns:
        (pairs, steps of all rows after the merges); of two pairs that occur equally often, the one of smaller symbols comes first.
    """
    state = _Corpus(rows, width + count, min_frequency)
    spans, out = [1] * width, list[tuple[int, int]]()
    with Bar(count, "merging", show=progress) as bar:
        while len(out) < count and (pair := state.most_frequent()) is not None:
            span = spans[pair[0]] + spans[pair[1]]
            if span > max_span:
                state.forget(pair)
                continue
            state.merge(pair, width + len(out))
            out.append(pair)
            spans.append(span)
            bar.step()
    return tuple(out), state.steps


class _Corpus:
    """All symbols as a linked list, with the counts of pairs and where they occur.

    A pair's count only falls once both its symbols exist, so pairs that begin below the least frequency are never looked at again.
    """

    def __init__(self, rows: list[np.ndarray], symbols: int, least: int) -> None:
        gap = np.array([_GAP])
        self.own = np.concatenate([part for row in rows for part in (row, gap)]).astype(np.int64)
        self.following = np.arange(1, len(self.own) + 1)
        self.before = np.arange(-1, len(self.own) - 1)
        self.symbols, self.least, self.steps = symbols, least, len(self.own) - len(rows)
        self.counts: dict[int, int] = {}
        self.places: dict[int, list[np.ndarray]] = defaultdict(list)
        self.heap: list[tuple[int, int]] = []
        self._count(np.arange(len(self.own) - 1))

    def _keys(self, at: np.ndarray) -> np.ndarray:
        """Number of the pair that begins at each place, -1 where there is none."""
        a, b = self.own[at], self.own[np.minimum(self.following[at], len(self.own) - 1)]
        return np.where((a >= 0) & (b >= 0) & (self.following[at] < len(self.own)), a * self.symbols + b, -1)

    def _count(self, at: np.ndarray) -> None:
        """Take note of the pairs that begin at these places, rising; none of them was there before."""
        keys = self._keys(at)
        order = np.argsort(keys, kind="stable")
        found, first, number = np.unique(keys[order], return_index=True, return_counts=True)
        for key, start, n in zip(found.tolist(), first.tolist(), number.tolist(), strict=True):
            if key >= 0 and (n >= self.least or key in self.counts):
                self.counts[key] = self.counts.get(key, 0) + n
                self.places[key].append(at[order[start : start + n]])
                heapq.heappush(self.heap, (-self.counts[key], key))

    def _lose(self, at: np.ndarray) -> None:
        """The pairs that begin at these places are about to go."""
        found, number = np.unique(self._keys(at), return_counts=True)
        for key, n in zip(found.tolist(), number.tolist(), strict=True):
            if key in self.counts:
                self.counts[key] -= n

    def most_frequent(self) -> tuple[int, int] | None:
        """The pair that occurs most often; None if all are rarer than the least frequency."""
        while self.heap:
            count, key = self.heap[0]
            now = self.counts.get(key, 0)
            if now == -count and now >= self.least:
                return divmod(key, self.symbols)
            heapq.heappop(self.heap)
            if now >= self.least:
                heapq.heappush(self.heap, (-now, key))
            else:
                self._drop(key)
        return None

    def _drop(self, key: int) -> None:
        self.counts.pop(key, None)
        self.places.pop(key, None)

    def forget(self, pair: tuple[int, int]) -> None:
        """Never return this pair again."""
        self._drop(pair[0] * self.symbols + pair[1])

    def merge(self, pair: tuple[int, int], symbol: int) -> None:
        """Put `symbol` in the place of a pair, from the left wherever occurrences overlap."""
        key = pair[0] * self.symbols + pair[1]
        at = np.unique(np.concatenate(self.places[key]))
        at = at[self._keys(at) == key]
        if pair[0] == pair[1]:
            at = self._apart(at)
        second = self.following[at]
        left, right = self.before[at], self.following[second]
        touched = np.unique(np.concatenate([left[left >= 0], at, second]))
        self._lose(touched)
        self.own[at], self.own[second] = symbol, _GONE
        self.following[at] = right
        inside = right < len(self.own)
        self.before[right[inside]] = at[inside]
        self.steps -= len(at)
        self._drop(key)
        self._count(touched[self.own[touched] >= 0])

    def _apart(self, at: np.ndarray) -> np.ndarray:
        """Of places whose pairs overlap in runs, every second one of each run."""
        begins = np.append(True, self.following[at[:-1]] != at[1:])
        index = np.arange(len(at))
        start = np.maximum.accumulate(np.where(begins, index, 0))
        return at[(index - start) % 2 == 0]
