"""Patterns of K ids a step: codebook k in row k, `delays[k]` steps late.

    delays (0, 1, 2), n = 3        step   0      1      2      3      4      5      6
                                row 0   begin    p0     p1     p2    end   empty  empty
                                row 1   begin  empty    p0     p1     p2    end   empty
                                row 2   begin  empty  empty    p0     p1     p2    end

Each row ends with its own end token; the corners hold `empty`, which never counts in the loss. Without end tokens
(`end=False`) the last column is missing. Letters: K codebooks, n positions of an item, S steps.
"""

from collections import Counter

import torch
from torch import Tensor

from ....codecs.config import ConfigError
from .base import Packing, PackingConfig
from .results import IGNORE, Grid, Problem, Read

#: Special tokens that occur in streams, in the order of their local ids; see `to_heads`.
STREAM_SPECIALS = ("begin", "end", "pad", "empty")


class StreamPacking(Packing):
    """Base of `delay` and `parallel`; only the delays differ."""

    _streams = True

    def __init__(self, config: PackingConfig, delays: tuple[int, ...]) -> None:
        super().__init__(config)
        if len(delays) != len(self.vocab_sizes) or min(delays) != 0:
            count = len(self.vocab_sizes)
            raise ConfigError(f"delays is {delays}; give K={count} numbers from 0, the smallest of them 0.")
        self.delays = delays
        self.empty_id = self.special["empty"]

    def _positions(self, steps: int, device: torch.device) -> Tensor:
        """Position that row k holds at step s after begin, int64 `[K, steps]`; below 0 before its first one."""
        return torch.arange(steps, device=device) - torch.tensor(self.delays, device=device)[:, None]

    def _write(self, ids: Tensor, grid: Grid | None) -> tuple[Tensor, Tensor]:
        n = ids.shape[1]
        at = self._positions(n + max(self.delays) + int(self.config.end), ids.device)  # [K, S - 1]
        inside = (at >= 0) & (at < n)
        content = torch.full_like(at, self.empty_id)
        content[inside] = ids[:, :n].reshape(-1)  # both run row by row
        closing = (at == n) & self.config.end
        content[closing] = self.end_id
        first = content.new_full((len(content), 1), self.begin_id)
        learn = torch.full_like(first, self.config.learn_begin, dtype=torch.bool)
        return torch.cat([first, content], dim=1), torch.cat([learn, inside | closing], dim=1)

    def steps_of(self, positions: int, grid: Grid | None = None) -> Tensor:
        return torch.arange(positions) + torch.tensor(self.delays)[:, None] + 1

    def _read(self, ids: Tensor, item: int) -> Read:
        begin = (ids[0] == self.begin_id).nonzero()
        start = int(begin[0]) + 1 if len(begin) else 0
        content = ids[:, start:]
        n, cut = self._length(content)
        steps = min(content.shape[1], n + max(self.delays) + int(self.config.end))
        content = content[:, :steps]
        own, book = self.vocabulary.from_ids(self.config.tokenizer, content)
        at = self._positions(steps, ids.device)  # [K, steps]
        inside = (at >= 0) & (at < n)
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        closing = (at == n) & self.config.end
        idle = (content == self.empty_id) | ((content == self.pad_id) & (at >= n))
        good = torch.where(inside, book == rows, torch.where(closing, content == self.end_id, idle))
        bad = (~good).nonzero().tolist()
        problems = sorted(
            (self._problem(item, k, start + s, int(content[k, s]), int(at[k, s]), n) for k, s in bad),
            key=lambda p: (p.position, p.stream),
        )
        reached = int(at[:, -1].min()) + 1 if steps else 0  # positions that all rows have come to
        lost = at[inside & ~good]
        m = max(0, min([n, reached, *lost.tolist()]))
        out = torch.stack([own[k, d : d + m] for k, d in enumerate(self.delays)])  # [K, m]
        ended = not cut and int(closing.sum()) == len(ids) and bool(good[closing].all()) if self.config.end else m == n
        return Read(out, None, tuple(problems), ended)

    def _length(self, content: Tensor) -> tuple[int, bool]:
        """Positions that the sequence claims, by a vote of its rows, and whether no row stops (truncated)."""
        stops = []
        for row, delay in zip(content, self.delays, strict=True):
            tail = row[delay:]
            over = ((tail == self.end_id) | (tail == self.empty_id) | (tail == self.pad_id)).nonzero()
            if len(over):
                stops.append(int(over[0]))
        if not stops:
            return content.shape[1], True
        votes = Counter(stops)
        most = max(votes.values())
        return min(n for n, v in votes.items() if v == most), False

    def _problem(self, item: int, row: int, position: int, found: int, at: int, n: int) -> Problem:
        want = f"{self.config.tokenizer} codebook {row}"
        if not 0 <= at < n:
            want = "the end token" if at == n and self.config.end else "the special 'empty'"
        return Problem(item, position, found, f"expected {want}, found {self.vocabulary.describe(found)}", row)

    # --- models with one head and one embedding a codebook ----------------------------------------------------------

    @property
    def head_sizes(self) -> tuple[int, ...]:
        """Ids of each head of a model that has one for each codebook: V and the specials of streams."""
        return tuple(v + len(STREAM_SPECIALS) for v in self.vocab_sizes)

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Offsets `[K, 1]` and the ids of the specials of streams."""
        offsets = torch.tensor(self.vocabulary.offsets(self.config.tokenizer), device=device)[:, None]
        special = {"begin": self.begin_id, "end": self.end_id, "pad": self.pad_id, "empty": self.empty_id}
        return offsets, torch.tensor([special[s] for s in STREAM_SPECIALS], device=device)

    def to_heads(self, ids: Tensor) -> Tensor:
        """Ids or labels `[B, K, S]` counted from 0 in each row: own ids 0..V-1, then `STREAM_SPECIALS`; -100 stays.

        Raises:
            ValueError: an id that is neither of its row's codebook nor one of these specials.
        """
        offsets, special = self._tables(ids.device)
        sizes = torch.tensor(self.vocab_sizes, device=ids.device)[:, None]
        own = ids - offsets
        out = torch.where((own >= 0) & (own < sizes), own, IGNORE - 1)
        for i, s in enumerate(special):
            out = torch.where(ids == s, sizes + i, out)
        out = torch.where(ids == IGNORE, IGNORE, out)
        if bool((out == IGNORE - 1).any()):
            b, k, s = (out == IGNORE - 1).nonzero()[0].tolist()
            raise ValueError(f"row {k} step {s} of item {b} holds {self.vocabulary.describe(int(ids[b, k, s]))}.")
        return out

    def from_heads(self, ids: Tensor) -> Tensor:
        """Inverse of `to_heads` for ids `[B, K, S]` sampled from K heads, each in `0..head_sizes[k]-1`."""
        offsets, special = self._tables(ids.device)
        sizes = torch.tensor(self.vocab_sizes, device=ids.device)[:, None]
        index = (ids - sizes).clamp(0, len(STREAM_SPECIALS) - 1)
        return torch.where(ids >= sizes, special[index], ids + offsets)
