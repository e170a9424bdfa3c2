"""`Packing`: what every pattern is, and `packing.json`.

A pattern writes two functions, `_write` (one item to its steps) and `_read` (any steps, also broken ones, to one item).
Batches, padding, labels, side information and files are here. `flat.py` and `streams.py` write these two for patterns
of one and of K ids a step.

Letters: B batch, K codebooks, L token positions, S steps of a sequence.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....codecs.config import ConfigError, Polymorphic, from_mapping, parse_json, to_mapping
from ....codecs.files import write_text
from ....codecs.tokens import Tokens
from ..vocabulary import Vocabulary
from .patterns import PATTERNS
from .results import IGNORE, Grid, Packed, Problem, Read, Side, Unpacked

__all__ = ["Packed", "Packing", "PackingConfig", "Problem", "Read", "Side", "Unpacked", "load_packing"]

_FORMAT, _VERSION = "tokenzoo-packing", 1


@dataclass(frozen=True, kw_only=True)
class PackingConfig(Polymorphic):
    """Settings common to all patterns.

    Attributes:
        tokenizer: name of the tokenizer in `vocabulary`.
        vocabulary: the id space.
        names: what the codebooks mean, as in `Tokens.names`.
        end: close a medium with its end token; False only where one fixed length is all there is.
        learn_begin: count the begin token in the loss.
    """

    kinds = PATTERNS

    tokenizer: str
    vocabulary: Vocabulary
    names: tuple[str, ...] = ()
    end: bool = True
    learn_begin: bool = False

    def build(self) -> "Packing":
        """Return the packing. Raises ConfigError where the settings do not fit the vocabulary."""
        raise NotImplementedError


class Packing:
    """Base of all patterns: pure functions with exact inverses; see the package's docstring for the rules."""

    #: layouts of `Tokens` that this pattern takes and gives; empty: the plain one.
    strides: tuple[int, ...] = ()
    scales: tuple[tuple[int, int], ...] = ()
    #: number and places of steps follow from an item's positions and grid alone.
    fixed_steps = True
    #: takes K=1 codebook.
    single = False

    def __init__(self, config: PackingConfig) -> None:
        self.config = config
        self.vocabulary = config.vocabulary
        self.books = self.vocabulary.books(config.tokenizer)
        self.special = self.vocabulary.specials()
        self.begin_id = self.special[f"begin_{self.books.modality}"]
        self.end_id = self.special[f"end_{self.books.modality}"]
        self.pad_id = self.special["pad"]
        if self.single and (books := len(self.vocab_sizes)) != 1:
            raise ConfigError(f"{config.kind} packing takes K=1 codebook, {config.tokenizer!r:.200} has {books}.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.kind}, {self.config.tokenizer!r}, K {len(self.vocab_sizes)})"

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """V of the tokenizer's own codebooks."""
        return self.books.vocab_sizes

    @property
    def streamed(self) -> bool:
        """True of patterns with K ids a step, one row for each codebook."""
        return self._streams

    # --- for patterns to write --------------------------------------------------------------------------------------

    def _write(self, ids: Tensor, grid: Grid | None) -> tuple[Tensor, Tensor]:
        """Steps of one item.

        Args:
            ids: int64 `[K, n]`, ids of the vocabulary.
            grid: `(h, w)` of a picture or `(t, h, w)` of a clip with n places, or None.

        Returns:
            (ids, counts), int64 and bool, `[S]` or `[K, S]`, with begin and end tokens; `counts` is the loss mask.
        """
        raise NotImplementedError

    def _read(self, ids: Tensor, item: int) -> Read:
        """Inverse of `_write` for any ids `[S]` or `[K, S]`; problems carry `item`."""
        raise NotImplementedError

    def steps_of(self, positions: int, grid: Grid | None = None) -> Tensor:
        """The step that holds each id of an item, int64 `[K, positions]`; step 0 is the begin token.

        Args:
            positions: of the item.
            grid: `(h, w)` or `(t, h, w)` with as many places, or None.

        Returns:
            A step for each codebook of the vocabulary (`bits`: the parts of an id); ids that share a step share its number.
        """
        raise NotImplementedError

    def decodable(self, positions: int) -> int:
        """The largest number of positions up to `positions` that stand for media on their own."""
        return positions

    def _split(self, ids: Tensor) -> Tensor:
        """The tokenizer's ids `[B, K, L]` as ids of the vocabulary's codebooks `[B, K', L]`."""
        return ids

    def _join(self, ids: Tensor) -> Tensor:
        """Inverse of `_split`, for one item: `[K', n]` to `[K, n]`."""
        return ids

    # --- pack -------------------------------------------------------------------------------------------------------

    def pack(self, tokens: Tokens) -> Packed:
        """Sequences of a batch.

        Args:
            tokens: ids `[B, K, L]`, ragged or not.

        Returns:
            `Packed` with `input_ids` `[B, S]` or `[B, K, S]`.

        Raises:
            ValueError: tokens of another tokenizer or layout than the config's, or an id outside its codebook.
        """
        self._check(tokens)
        side = Side.of(tokens)
        ids = self.vocabulary.to_ids(self.config.tokenizer, self._split(tokens.ids))  # [B, K', L]
        items = [self._write(ids[b, :, :n], side.grid_of(b)) for b, n in enumerate(side.lengths.tolist())]
        steps = max((i.shape[-1] for i, _ in items), default=0)
        head = (len(self.books.vocab_sizes),) if self._streams else ()
        input_ids = ids.new_full((len(items), *head, steps), self.pad_id)
        mask = torch.zeros_like(input_ids, dtype=torch.bool)
        for b, (row, counts) in enumerate(items):
            input_ids[b, ..., : row.shape[-1]] = row
            mask[b, ..., : row.shape[-1]] = counts
        return Packed(
            input_ids=input_ids,
            labels=torch.where(mask, input_ids, IGNORE),
            loss_mask=mask,
            lengths=torch.tensor([i.shape[-1] for i, _ in items], dtype=torch.int64, device=ids.device),
            side=side,
        )

    def at_positions(self, logits: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """Logits of a model by the token that they predict: `cross_entropy(logits, tokens.ids, reduction="none")[mask]`.

        Args:
            logits: `[B, S, V]`, of patterns with K streams `[B, K, S, V]`; those at step s predict the id at step s + 1, as
                transformers' models do. Any other values of steps may stand in their place.
            side: of the packed items, `packed.side` or `Side.of(tokens)`.

        Returns:
            (logits `[B, V, K, L]`, mask bool `[B, K, L]`). The mask is False, and the logits 0, past the end of an item and where
            `logits` holds too few steps. `bits`: K counts the parts of ids.

        Raises:
            ValueError: another rank, or another number of items or streams.
        """
        books = len(self.books.vocab_sizes)
        want = ["B", books, "S", "V"] if self._streams else ["B", "S", "V"]
        if logits.ndim != len(want) or len(logits) != len(side.lengths) or (self._streams and logits.shape[1] != books):
            raise ValueError(f"{list(logits.shape)} are no logits of {len(side.lengths)} items; expected {want} with B of them.")
        out = logits.new_zeros(len(logits), logits.shape[-1], books, side.positions)
        mask = torch.zeros(len(logits), books, side.positions, dtype=torch.bool, device=logits.device)
        for b, n in enumerate(side.lengths.tolist()):
            step = self.steps_of(n, side.grid_of(b)).to(logits.device) - 1  # [K, n]
            mask[b, :, :n] = step < logits.shape[-2]
            book, position = mask[b].nonzero(as_tuple=True)
            at = step[book, position]
            out[b, :, book, position] = (logits[b, book, at] if self._streams else logits[b, at]).mT
        return out, mask

    def _check(self, tokens: Tokens) -> None:
        """Raise ValueError unless these are tokens that the config describes."""
        want = {"vocab_sizes": self.vocab_sizes, "strides": self.strides, "scales": self.scales, "names": self.config.names}
        for name, value in want.items():
            if getattr(tokens, name) != value:
                raise ValueError(
                    f"{self.config.kind} packing of {self.config.tokenizer!r} is set for {name} {value}, "
                    f"the tokens have {getattr(tokens, name)}; build the packing from this tokenizer's spec."
                )
        if tokens.book_grids is not None:
            raise ValueError("codebooks with grids of their own are packed one by one; pack tokens.track(NAME) of each.")
        for n in tokens.lengths.tolist():
            if self.decodable(n) != n:
                raise ValueError(
                    f"{n} positions cannot be packed as {self.config.kind}: they end inside a unit; "
                    f"cut them first to {self.decodable(n)} with tokens.first(positions={self.decodable(n)})."
                )

    # --- unpack -----------------------------------------------------------------------------------------------------

    def unpack(self, ids: "Packed | Tensor | Sequence[int]", *, side: Side | None = None) -> Unpacked:
        """Tokens of sequences, also of broken ones.

        Args:
            ids: what `pack` gave, with its side information; or ids `[S]` or `[B, S]` (`[K, S]` or `[B, K, S]` of
                patterns with K streams), from a model.
            side: sizes, rates and loudness to put into the tokens; its grid counts only for items of the same length.

        Returns:
            `Unpacked`: the valid prefix of each item, and the ids out of place.

        Raises:
            ValueError: wrong rank, or `side` of another number of items. Never because of the ids themselves.
        """
        if isinstance(ids, Packed):
            ids, side = ids.input_ids, side or ids.side
        ids = torch.as_tensor(ids).long()
        rank = 3 if self._streams else 2
        if ids.ndim == rank - 1:
            ids = ids[None]
        if ids.ndim != rank or (self._streams and ids.shape[1] != len(self.books.vocab_sizes)):
            want = f"[B, {len(self.books.vocab_sizes)}, S]" if self._streams else "[B, S]"
            raise ValueError(f"{self.config.kind} packing unpacks ids {want}; got {list(ids.shape)}.")
        if side is not None and len(side.lengths) != len(ids):
            raise ValueError(f"side is of {len(side.lengths)} items, ids of {len(ids)}.")
        reads = [self._read(row, b) for b, row in enumerate(ids)]
        problems = tuple(p for r in reads for p in r.problems)
        return Unpacked(self._assemble(reads, side, ids.device), problems, tuple(r.ended for r in reads))

    #: True of patterns with K ids a step.
    _streams = False

    def _assemble(self, reads: Sequence[Read], side: Side | None, device: torch.device) -> Tokens:
        """One batch of what was read from each sequence."""
        parts = [self._join(r.ids) for r in reads]
        lengths = torch.tensor([p.shape[1] for p in parts], dtype=torch.int64, device=device)
        same = side is not None and side.lengths.tolist() == lengths.tolist()
        longest = side.positions if side is not None and same else max((p.shape[1] for p in parts), default=0)
        ids = torch.zeros(len(parts), len(self.vocab_sizes), longest, dtype=torch.int64, device=device)
        for b, p in enumerate(parts):
            ids[b, :, : p.shape[1]] = p
        if side is not None and same:
            grid, grids = side.grid, side.grids
        else:
            grid, grids = _grids([r.grid for r in reads], longest, device)
        return Tokens(
            ids=ids,
            vocab_sizes=self.vocab_sizes,
            grid=grid,
            lengths=lengths,
            grids=grids,
            sizes=None if side is None else side.sizes,
            sample_rate_hz=None if side is None else side.sample_rate_hz,
            scale=None if side is None else side.scale,
            side_vectors={} if side is None else side.side_vectors,
            strides=self.strides,
            scales=self.scales,
            names=self.config.names,
            tokenizer=None if side is None else side.tokenizer,
        )

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `packing.json`: the config, and the id space spelled out for readers that do not have this library."""
        write_text(path, json.dumps(self._document(), indent=2) + "\n")

    def _document(self) -> dict[str, Any]:
        ranges = [{"what": r.label, "first": r.start, "size": r.size} for r in self.vocabulary.ranges()]
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "packing": to_mapping(self.config),
            "specials": self.special,
            "ranges": ranges,
        }


def load_packing(path: str | os.PathLike[str]) -> Packing:
    """Build the packing that `Packing.save` wrote.

    Raises:
        ConfigError: no packing file, a newer version, unknown keys, or tables that contradict the config.
    """
    try:
        document = parse_json(Path(path).read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON that can be read: {error}") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ConfigError(f"{path} is not a packing file: it has no 'format': {_FORMAT!r}.")
    if document.get("version") != _VERSION:
        raise ConfigError(f"{path} is of version {document.get('version')}; this library reads {_VERSION}. Update tokenzoo.")
    packing = from_mapping(PackingConfig, document.get("packing", {}), "packing").build()
    derived = packing._document()
    for key in ("specials", "ranges"):
        if document.get(key) != derived[key]:
            raise ConfigError(f"{path} was altered: {key!r} does not follow from 'packing'. Save it again from the config.")
    return packing


def _grids(grids: Sequence[Grid | None], longest: int, device: torch.device) -> tuple[Grid, Tensor | None]:
    """(grid, grids) of a batch: one grid where all agree, each item's own where they differ, else a sequence."""
    known = [g for g in grids if g is not None]
    if not known or len(known) < len(grids):
        return (longest,), None
    if len(set(known)) == 1:
        return known[0], None
    return (longest,), torch.tensor(known, dtype=torch.int64, device=device)
