"""`bpe`: byte-pair encoding over ids: pairs of neighbouring ids that are frequent become one id, on top of another pattern.

    interleaved   12 1031 12 1031 7 1040            merges (12, 1031), ((12, 1031), (12, 1031))
    bpe           [12 1031 12 1031] 7 1040          three steps in place of six

Sennrich et al. (arXiv:1508.07909) on the ids of a codec, as codec-bpe does and Discrete Audio Tokens (arXiv:2506.10274) describe: fewer
and more evenly used ids for a language model. Merged ids have a reserved range of the vocabulary. Special tokens (rows' ends) are never
merged. A sequence has no fixed number of steps: it depends on its ids. `bpe.py` of the package above learns merges from a corpus.

Letters: M merges, S steps, W ids of all codebooks together.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ....codecs.config import ConfigError, from_mapping
from ....codecs.tokens import Tokens
from .base import Packing, PackingConfig
from .results import Grid, Problem, Read, Side

#: Ids that one merged id may stand for.
MAX_SPAN = 256


@dataclass(frozen=True, kw_only=True)
class BpeConfig(PackingConfig):
    """Settings of `bpe`.

    Attributes:
        pattern: the pattern whose steps are merged, of one id a step; `settings`: of that pattern.
        merges: M pairs of symbols, in the order in which they were learned: 0..W-1 are the ids of the codebooks, those of the first one
            first, and W + i is the result of merge i.
        merged: name of the reserved range of `vocabulary` that holds the M merged ids.
    """

    kind: ClassVar[str] = "bpe"
    pattern: str
    merges: tuple[tuple[int, int], ...]
    merged: str
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self) -> "BpePacking":
        return BpePacking(self)


class BpePacking(Packing):
    """Merges the steps of another packing; `unpack` splits them first."""

    config: BpeConfig
    fixed_steps = False

    def __init__(self, config: BpeConfig) -> None:
        super().__init__(config)
        own = {n: getattr(config, n) for n in ("tokenizer", "vocabulary", "names", "end", "learn_begin")}
        self.inner = from_mapping(PackingConfig, {**own, **config.settings, "kind": config.pattern}, "settings").build()
        if self.inner.streamed or isinstance(self.inner, BpePacking):
            raise ConfigError(f"bpe merges steps of one id; {config.pattern!r:.80} has others. Take 'interleaved' or 'coarse_first'.")
        self.strides, self.scales = self.inner.strides, self.inner.scales
        self.first_id, self.width = self.vocabulary.offsets(config.tokenizer)[0], sum(self.books.vocab_sizes)
        range_ = next((r for r in self.vocabulary.ranges() if r.owner == config.merged and r.book < 0), None)
        if range_ is None or range_.size < len(config.merges) or config.merged not in (r.name for r in self.vocabulary.reserved):
            raise ConfigError(f"the vocabulary reserves no {len(config.merges)} ids as {config.merged!r:.80} for the merges.")
        self.merged_id = range_.start
        self.parts = _parts(config.merges, self.width)
        self.ranks = {pair: rank for rank, pair in enumerate(config.merges)}
        if len(self.ranks) < len(config.merges):
            raise ConfigError("merges holds a pair twice.")

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        return self.inner.vocab_sizes

    def decodable(self, positions: int) -> int:
        return self.inner.decodable(positions)

    def _split(self, ids: Tensor) -> Tensor:
        return self.inner._split(ids)

    def _join(self, ids: Tensor) -> Tensor:
        return self.inner._join(ids)

    def _check(self, tokens: Tokens) -> None:
        self.inner._check(tokens)

    def steps_of(self, positions: int, grid: Grid | None = None) -> Tensor:
        raise ValueError("the steps of a bpe packing depend on its ids; positions have no steps of their own. Use its `inner` packing.")

    def at_positions(self, logits: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        self.steps_of(0)
        raise AssertionError("unreachable")

    # --- symbols: 0..W-1 ids, W.. merges, -1 anything else -------------------------------------------------------------

    def symbols_of(self, ids: np.ndarray) -> np.ndarray:
        """Symbols `[S]` of ids of the vocabulary."""
        own, merge = ids - self.first_id, ids - self.merged_id
        merges = np.where((merge >= 0) & (merge < len(self.config.merges)), merge + self.width, -1)
        return np.where((own >= 0) & (own < self.width), own, merges)

    def _ids_of(self, symbols: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Inverse of `symbols_of`; `ids` stand where a symbol is -1."""
        found = np.where(symbols < self.width, symbols + self.first_id, symbols - self.width + self.merged_id)
        return np.where(symbols < 0, ids, found)

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all symbols one after the other, and where those of each begin, `[W + M + 1]`."""
        every = [*([s] for s in range(self.width)), *self.parts]
        return np.concatenate([np.asarray(p, np.int64) for p in every]), np.cumsum([0, *(len(p) for p in every)])

    @cached_property
    def alike(self) -> dict[tuple[int, ...], list[int]]:
        """Numbers of the merges by the codebooks of what they stand for."""
        ends = np.cumsum(self.books.vocab_sizes)
        out: dict[tuple[int, ...], list[int]] = {}
        for m, parts in enumerate(self.parts):
            out.setdefault(tuple(np.searchsorted(ends, parts, side="right").tolist()), []).append(m)
        return out

    def _write(self, ids: Tensor, grid: Grid | None) -> tuple[Tensor, Tensor]:
        row, counts = self.inner._write(ids, grid)
        plain = row.cpu().numpy()
        symbols, kept = merged(self.symbols_of(plain), self.ranks, self.width)
        out = self._ids_of(symbols, plain[kept])
        return torch.from_numpy(out).to(row.device), counts[torch.from_numpy(kept).to(row.device)]

    def _read(self, ids: Tensor, item: int) -> Read:
        plain, (flat, starts) = ids.cpu().numpy(), self._flat
        symbols = self.symbols_of(plain)
        lengths = np.where(symbols < 0, 1, (starts[1:] - starts[:-1])[symbols])
        origin = np.repeat(np.arange(len(plain)), lengths)
        within = np.arange(len(origin)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        opened = flat[np.where(symbols < 0, 0, starts[:-1][symbols])[origin] + np.where(symbols[origin] < 0, 0, within)]
        split = self._ids_of(np.where(symbols[origin] < 0, -1, opened), plain[origin])
        read = self.inner._read(torch.from_numpy(split).to(ids.device), item)
        problems: dict[int, Problem] = {}
        for p in read.problems:  # one for each id that came, not for each that it stands for
            at = int(origin[p.position])
            problems.setdefault(at, replace(p, position=at, found=int(plain[at])))
        return replace(read, problems=tuple(problems.values()))


def _parts(merges: Sequence[tuple[int, int]], width: int) -> list[list[int]]:
    """The ids that each merge stands for.

    Raises:
        ConfigError: a merge of symbols that do not exist yet, or of more than `MAX_SPAN` ids.
    """
    out: list[list[int]] = []
    for i, pair in enumerate(merges):
        if max(pair) >= width + i or min(pair) < 0:
            raise ConfigError(f"merge {i} is of {pair}; symbols before it are 0..{width + i - 1}.")
        both = [part for s in pair for part in ([s] if s < width else out[s - width])]
        if len(both) > MAX_SPAN:
            raise ConfigError(f"merge {i} stands for {len(both)} ids; at most {MAX_SPAN} are allowed.")
        out.append(both)
    return out


def merged(symbols: np.ndarray, ranks: dict[tuple[int, int], int], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Apply merges: always the one that was learned first, from the left.

    Args:
        symbols: `[S]`; -1 is never merged.
        ranks: pair -> number of its merge.
        width: the symbol of merge r is `width + r`.

    Returns:
        (symbols, where the first part of each stood), int64 each, in time O(S log S).
    """
    own = symbols.tolist()
    following, before = list(range(1, len(own) + 1)), list(range(-1, len(own) - 1))
    waiting = [(r, i) for i in range(len(own) - 1) if (r := ranks.get((own[i], own[i + 1]))) is not None]
    heapq.heapify(waiting)
    while waiting:
        rank, at = heapq.heappop(waiting)
        other = following[at] if own[at] is not None else len(own)
        if other >= len(own) or ranks.get((own[at], own[other])) != rank:
            continue  # one of the two was merged since
        own[at], own[other] = width + rank, None
        following[at] = following[other]
        if following[at] < len(own):
            before[following[at]] = at
        for i in (before[at], at):
            if i >= 0 and following[i] < len(own) and (r := ranks.get((own[i], own[following[i]]))) is not None:
                heapq.heappush(waiting, (r, i))
    kept = np.array([i for i, s in enumerate(own) if s is not None], np.int64)
    return np.array([s for s in own if s is not None], np.int64), kept
