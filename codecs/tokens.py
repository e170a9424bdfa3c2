"""`Tokens`: what every tokenizer returns from `encode` and takes in `decode`, and its file format.

Letters: B batch, K codebooks, L token positions, V codebook size, H W pixels, T samples.
"""

import dataclasses
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import torch
from torch import Tensor

from . import token_fields
from .files import write_bytes
from .identity import TokenizerId
from .spec import id_bits
from .token_fields import TokenError

__all__ = ["TokenError", "TokenizerId", "Tokens"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of token sequences, possibly ragged, with all that `decode` needs to restore the original sizes and rates.

    All fields are checked when the object is made, by a caller or from a file; tensors go to the device of `ids`. Two batches are
    equal if all their fields are; they have no hash, because tensors can change. On an accelerator whole numbers about items are also
    kept on the CPU (`on_host`), so that reading them does not wait for the device.

    Attributes:
        ids: int64 `[B, K, L]`; positions at or past an item's length are set to 0.
        vocab_sizes: V of each codebook, K numbers; ids of codebook k lie in `0..V[k]-1`.
        grid: the shape that is flattened into L, row by row: `(h, w)` for a picture, `(t, h, w)` for a clip of pictures, `(L,)` for
            sequences and for ragged batches of pictures, whose own shapes are in `grids`. Default: `(L,)`.
        lengths: int64 `[B]`, valid positions of each item. Default: L.
        grids: int64 `[B, 2]`, each picture's own `(h, w)`, or `[B, 3]`, each clip's `(t, h, w)`, where they differ; item i's flattened
            grid comes first in `ids[i]`.
        sizes: int64 `[B, n]`, size of the output of `decode`: `(T,)` samples at `sample_rate_hz`, `(H, W)` pixels, or `(T, H, W)`, T
            frames of a clip. It is the size of the original, or of the part that was kept of a cropped picture; 0 only for items
            without positions.
        sample_rate_hz: int64 `[B]`, rate of each item's original audio (not of the codec); one number applies to all items. None
            for pictures.
        scale: float32 `[B, S]`, loudness factors by segment that `decode` multiplies in again, or None.
        strides: multi-rate layout (SNAC): codebook k holds one id for every `strides[k]` positions, repeated to fill
            them; empty when all are 1.
        scales: multi-scale layout (VAR): L is the concatenation of these `(h, w)` grids, coarse to fine, or a part of it from the
            start; else empty.
        names: one name for each codebook where they represent different things (`semantic`, `acoustic`, `vocal`); else empty.
        book_grids: int64 `[B, K, 2]`, where codebooks have separate grids (DualViTok): `ids[i, k, :h*w]` is the flattened grid of
            codebook k of item i, later positions are 0; `grid` is that of the codebook with the most positions. Else None.
        side_vectors: continuous vectors that an item carries beside its ids, such as a codebook of its own: name -> one tensor
            float32 `[n, D]` for each item, n its own; the names are `spec.side_vectors`. Empty for most tokenizers.
        tokenizer: identity of the tokenizer that made them (`tokenizer.identity`); None: unknown.

    Raises:
        TokenError: a field of a wrong type, shape or range, or fields that contradict each other.
    """

    ids: Tensor
    vocab_sizes: tuple[int, ...]
    grid: tuple[int, ...] = ()
    lengths: Tensor = None  # type: ignore[assignment]  # filled in below
    grids: Tensor | None = None
    sizes: Tensor | None = None
    sample_rate_hz: Tensor | None = None
    scale: Tensor | None = None
    strides: tuple[int, ...] = ()
    scales: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()
    book_grids: Tensor | None = None
    side_vectors: Mapping[str, tuple[Tensor, ...]] = dataclasses.field(default_factory=dict)
    tokenizer: TokenizerId | None = None

    def __post_init__(self) -> None:
        f, limit = token_fields, token_fields.MAX_EXTENT
        ids = f.id_tensor(self.ids)
        b, k, length = ids.shape
        given, scale = f.on_host({n: getattr(self, n) for n in _FACTS}), self.scale
        lengths, grids, sizes, rate, books = (given[n] for n in _FACTS)
        facts: dict[str, Tensor | None] = {
            "lengths": torch.full((b,), length) if lengths is None else f.rows("lengths", lengths, "[B]", ids, low=0, high=length),
            "grids": None if grids is None else f.item_grids(grids, ids),
            "sizes": None if sizes is None else f.rows("sizes", sizes, "[B, n]", ids, low=0, high=limit),
            "sample_rate_hz": None if rate is None else f.rates(rate, ids),
            "book_grids": None if books is None else f.rows("book_grids", books, "[B, K, 2]", ids, low=0, high=f.MAX_SIDE),
        }
        fields: dict[str, Any] = {
            "ids": ids,
            "vocab_sizes": f.vocabularies(self.vocab_sizes, k),
            "grid": f.whole_numbers("grid", self.grid, low=0, high=limit) or (length,),
            "scale": None if scale is None else f.factors(scale, ids),
            "strides": f.whole_numbers("strides", self.strides, low=1, high=limit, count=k),
            "scales": f.scale_grids(self.scales),
            "names": f.texts("names", self.names, k),
            "side_vectors": f.side_vectors(self.side_vectors, ids),
            "tokenizer": f.maker(self.tokenizer),
        }
        known = {n: v for n, v in facts.items() if v is not None}
        fields |= facts | {n: v.to(ids.device, non_blocking=True) for n, v in known.items()}
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_host", known if ids.device.type != "cpu" else {})
        lengths, grids, sizes, _, books = facts.values()
        assert lengths is not None
        f.check_grid(self.grid, self.scales, length)
        f.check_items(lengths, grids, books, self.strides, sizes)
        object.__setattr__(self, "ids", f.own_ids(ids, lengths, books))
        f.check_ids(self.ids, self.vocab_sizes, lengths, self.strides)

    def _with(self, **changes: Any) -> "Tokens":
        """A copy with some fields changed, which are not checked again."""
        out = object.__new__(Tokens)
        for field in dataclasses.fields(self):
            object.__setattr__(out, field.name, changes.get(field.name, getattr(self, field.name)))
        object.__setattr__(out, "_host", {n: v for n, v in self._kept().items() if n not in changes})
        return out

    # --- whole numbers about items, on the CPU ----------------------------------------------------------------------------

    def _kept(self) -> dict[str, Tensor]:
        """Copies on the CPU of fields of another device; not a field itself. Missing in tokens that an older version pickled."""
        return self.__dict__.setdefault("_host", {})

    @overload
    def on_host(self, name: Literal["lengths"]) -> Tensor: ...
    @overload
    def on_host(self, name: str) -> Tensor | None: ...
    def on_host(self, name: str) -> Tensor | None:
        """The field `name`, one of whole numbers about items such as `lengths` and `sizes`, on the CPU; None if it is None.

        On an accelerator the copies are kept since the tokens were made; those that are missing come over in one transfer.
        """
        value = getattr(self, name)
        if value is None or value.device.type == "cpu":
            return value
        kept = self._kept()
        if name not in kept:
            kept |= token_fields.on_host({n: v for n in _FACTS if n not in kept and (v := getattr(self, n)) is not None})
        return kept[name]

    def facts_on_host(self) -> "Tokens":
        """The same tokens with ids and loudness where they are, and the whole numbers about items on the CPU."""
        return self._with(**{n: v for n in _FACTS if (v := self.on_host(n)) is not None})

    def __len__(self) -> int:
        """B, the number of items."""
        return self.ids.shape[0]

    def __iter__(self) -> Iterator["Tokens"]:
        self.on_host("lengths")  # once for all items
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """True where all fields are equal; the devices may differ."""
        if not isinstance(other, Tokens):
            return NotImplemented
        for f in dataclasses.fields(self):
            a, b = getattr(self, f.name), getattr(other, f.name)
            if f.name == "side_vectors":
                if not _equal_side_vectors(a, b):
                    return False
            elif isinstance(a, Tensor) and isinstance(b, Tensor):
                if a.shape != b.shape or not torch.equal(a.cpu(), b.cpu()):
                    return False
            elif a is not b and (isinstance(a, Tensor) or isinstance(b, Tensor) or a != b):
                return False
        return True

    def equal(self, other: "Tokens") -> bool:
        """Same as `self == other`: True where all fields are equal."""
        return self == other

    def __repr__(self) -> str:
        b, k, length = self.ids.shape
        vocab = self.vocab_sizes[0] if len(set(self.vocab_sizes)) == 1 else list(self.vocab_sizes)
        lengths = self._lengths()
        rag = "" if all(n == length for n in lengths) else f", lengths {lengths}"
        maker = "" if self.tokenizer is None else f", made by {self.tokenizer}"
        return f"Tokens(ids [{b}, {k}, {length}], V {vocab}, grid {self.grid}{rag}, {sum(self.bits())} bits{maker})"

    @property
    def num_codebooks(self) -> int:
        """K, integers at each position."""
        return self.ids.shape[1]

    def __getitem__(self, index: int | slice) -> "Tokens":
        """One item, as a batch of one cut to its own length and grid, or a slice of items, in their order.

        Raises:
            IndexError: there is no such item. TokenError: the index is no whole number.
        """
        if isinstance(index, slice):
            start, stop, step = (None if n is None else _whole("index", n) for n in (index.start, index.stop, index.step))
            if step is not None and step < 1:
                raise TokenError(f"the step of a slice of tokens is {step}; allowed: 1 or more.")
            side = {n: rows[start:stop:step] for n, rows in self.side_vectors.items()}
            out = self._with(side_vectors=side, **{n: v[start:stop:step] for n, v in self._tensors().items()})
            out._kept().update({n: v[start:stop:step] for n, v in self._kept().items()})
            return out
        index = _whole("index", index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)} tokens")
        index = index % len(self)
        one = self[index : index + 1]
        length = one._lengths()[0]
        grid = (length,)
        if (grids := one.on_host("grids")) is not None:
            grid = tuple(grids[0].tolist())
        elif length == self.ids.shape[2]:
            grid = self.grid
        return one._with(ids=one.ids[:, :, :length], grid=grid, grids=None)

    def first(self, *, codebooks: int | None = None, positions: int | None = None) -> "Tokens":
        """Keep the first `codebooks` codebooks and / or the first `positions` positions of every item.

        Whether the shorter tokens can be decoded depends on the tokenizer (`spec.prefix`).

        Raises:
            TokenError: a number below 1 or above what there is, or positions that split a multi-rate frame.
        """
        out = self
        if codebooks is not None:
            _check_range("codebooks", codebooks, self.num_codebooks)
            out = out._books(list(range(codebooks)))
        if positions is not None:
            _check_range("positions", positions, out.ids.shape[2])
            if out.strides and positions % max(out.strides):
                raise TokenError(f"positions is {positions}; it must be a multiple of the stride {max(out.strides)}.")
            if out.book_grids is not None:
                raise TokenError("codebooks with separate grids have no common positions; cut tokens.track(NAME) instead.")
            whole = positions == out.ids.shape[2]
            out = out._with(
                ids=out.ids[:, :, :positions],
                grid=out.grid if whole else (positions,),
                grids=out.grids if whole else None,
                lengths=out.lengths.clamp(max=positions),
            )
        return out

    def track(self, name: str) -> "Tokens":
        """Keep only the codebooks called `name`, e.g. `tokens.track("semantic")`; raises TokenError if there are none."""
        keep = [k for k, n in enumerate(self.names) if n == name]
        if not keep:
            raise TokenError(f"no codebook is called {name!r:.120}; names: {sorted(set(self.names)) or 'none'}.")
        return self._books(keep)

    def _books(self, keep: list[int]) -> "Tokens":
        """Keep only the codebooks `keep`; of codebooks with separate grids only the positions of the largest one kept."""
        cut = {n: tuple(getattr(self, n)[k] for k in keep) for n in ("vocab_sizes", "strides", "names") if getattr(self, n)}
        out = self._with(ids=self.ids[:, keep], book_grids=None, **cut)
        if self.book_grids is None:
            return out
        own = self.on_host("book_grids")
        assert own is not None
        own = own[:, keep]  # [B, K, 2]
        lengths, largest = own.prod(-1).max(dim=1)
        grids = own[torch.arange(len(own)), largest]  # [B, 2]
        longest, same = max(lengths.tolist(), default=0), bool((grids == grids[:1]).all())
        device = self.ids.device
        return out._with(
            ids=out.ids[..., :longest],
            lengths=lengths.to(device),
            grid=tuple(grids[0].tolist()) if same and len(grids) else (longest,),
            grids=None if same else grids.to(device),
            book_grids=None if bool((own == grids[:, None]).all()) else own.to(device),
        )

    def _tensors(self) -> dict[str, Tensor]:
        """All tensor fields that are not None, by name."""
        return {n: v for n in ("ids", "scale", *_FACTS) if (v := getattr(self, n)) is not None}

    def _lengths(self) -> list[int]:
        """`lengths` as a list."""
        return self.on_host("lengths").tolist()

    def made_by(self, tokenizer: TokenizerId | None) -> "Tokens":
        """The same tokens with `tokenizer` as the identity of the tokenizer that made them."""
        return self._with(tokenizer=token_fields.maker(tokenizer))

    def to(self, device: torch.device | str) -> "Tokens":
        """The same tokens with all tensors on `device`."""
        side = {n: tuple(v.to(device) for v in rows) for n, rows in self.side_vectors.items()}
        to_host = torch.device(device).type == "cpu"
        facts = {n: v for n in _FACTS if (v := self.on_host(n) if to_host else getattr(self, n)) is not None}
        out = self._with(side_vectors=side, **{n: v.to(device) for n, v in (self._tensors() | facts).items()})
        if not to_host:
            out._kept().update({n: v for n in facts if (v := self.on_host(n)) is not None})
        return out

    def counts(self) -> list[list[int]]:
        """Number of ids of each item and codebook, `[B][K]`: without padding, and one for every stride."""
        if (books := self.on_host("book_grids")) is not None:
            return books.prod(-1).tolist()
        strides = self.strides or (1,) * self.num_codebooks
        return [[-(-length // s) for s in strides] for length in self._lengths()]

    def bits(self) -> list[int]:
        """Bits of each item's ids: the sum over codebooks of ids x ceil(log2 V); side vectors are not counted."""
        widths = [id_bits(v) for v in self.vocab_sizes]
        return [sum(n * w for n, w in zip(counts, widths, strict=True)) for counts in self.counts()]

    @staticmethod
    def cat(items: Sequence["Tokens"]) -> "Tokens":
        """Join batches of one tokenizer along B, padding ids with 0 to the longest; all go to the device of the first.

        Sizes, rates and grids may differ from item to item. If one batch has no `tokenizer`, the result has none.

        Raises:
            TokenError: empty list; batches of two tokenizers; batches that differ in vocabulary, strides, scales or names, or of
                which some have sizes, rates, loudness factors, `book_grids` or side vectors and others none.
        """
        if not isinstance(items, Sequence) or not items or not all(isinstance(t, Tokens) for t in items):
            raise TokenError(f"Tokens.cat takes a list of at least one Tokens; got {type(items).__name__} {items!r:.60}.")
        items = [t.to(items[0].ids.device) for t in items]
        head = items[0]
        for t in items[1:]:
            _check_joins(head, t)
        longest = max(t.ids.shape[2] for t in items)
        grid, grids = _joined_grids(items, longest)
        out = head._with(
            ids=torch.cat([torch.nn.functional.pad(t.ids, (0, longest - t.ids.shape[2])) for t in items]),
            grid=grid,
            grids=grids,
            lengths=torch.cat([t.lengths for t in items]),
            scale=None if head.scale is None else _cat_padded(present(t.scale for t in items)),
            side_vectors={n: sum((t.side_vectors[n] for t in items), ()) for n in head.side_vectors},
            tokenizer=head.tokenizer if all(t.tokenizer is not None for t in items) else None,
            **{n: torch.cat([getattr(t, n) for t in items]) for n in _EACH if getattr(head, n) is not None},
        )
        kept = [n for n in ("lengths", *_EACH) if all(n in t._kept() for t in items)]
        out._kept().update({n: torch.cat([t._kept()[n] for t in items]) for n in kept})
        return out

    def save(self, path: str | os.PathLike[str], *, prior: Any = None) -> None:
        """Write the tokens to `path` in the format of `token_file.py`, atomically; an existing file is replaced.

        Args:
            path: of the file.
            prior: entropy-code the ids with this prior: a `Prior`, the file of one, or the name of a checkpoint that has one (needs
                `tokenzoo[entropy]`); None: ceil(log2 V) bits an id.

        Raises:
            TokenError: no items.
            PriorError: a prior of other tokens, or none that can be found.
        """
        from .token_file import to_bytes

        write_bytes(path, to_bytes(self, prior))

    @staticmethod
    def load(path: str | os.PathLike[str], *, prior: Any = None) -> "Tokens":
        """Read a file that `save` wrote.

        Args:
            path: of the file.
            prior: as in `save`, where the ids were coded with one that does not ship with the package.

        Raises:
            TokenFileError: not a token file, a newer version, truncated or altered, coded with another prior, as the message states.
            OSError: the file does not exist or cannot be read.
        """
        from .token_file import read

        return read(Path(path), prior)


#: Fields of whole numbers about items, whose values decide what the host does next.
_FACTS = ("lengths", "grids", "sizes", "sample_rate_hz", "book_grids")
#: Fields `[B, ...]` that `cat` concatenates along B without padding.
_EACH = ("sizes", "sample_rate_hz", "book_grids")


def _check_joins(head: Tokens, other: Tokens) -> None:
    for name in ("vocab_sizes", "strides", "scales", "names"):
        if getattr(other, name) != getattr(head, name):
            raise TokenError(f"cannot join: {name} is {getattr(head, name)} and {getattr(other, name)}.")
    for name in (*_EACH, "scale"):
        if (getattr(head, name) is None) != (getattr(other, name) is None):
            raise TokenError(f"cannot join: some have {name}, others none.")
    if head.side_vectors.keys() != other.side_vectors.keys():
        raise TokenError(f"cannot join: side vectors are {sorted(head.side_vectors)} and {sorted(other.side_vectors)}.")
    if head.sizes is not None and other.sizes is not None and head.sizes.shape[1] != other.sizes.shape[1]:
        raise TokenError(f"cannot join: sizes have {head.sizes.shape[1]} and {other.sizes.shape[1]} numbers an item.")
    if head.tokenizer is not None and other.tokenizer is not None and head.tokenizer != other.tokenizer:
        raise TokenError(f"cannot join tokens of two tokenizers: {head.tokenizer} and {other.tokenizer}.")


def _joined_grids(items: Sequence[Tokens], longest: int) -> tuple[tuple[int, ...], Tensor | None]:
    """(grid, grids) of a joined batch: one grid where all agree, each picture's own where they differ."""
    head = items[0]
    if all(t.grid == head.grid and t.grids is None for t in items):
        return head.grid, None
    if head.scales:  # the longest batch decides: its grid is that of the finest scale if it has all scales
        return next(t.grid for t in items if t.ids.shape[2] == longest), None
    if all(len(t.grid) == 1 and t.grids is None for t in items):
        return (longest,), None
    axes = {len(t.grid) if t.grids is None else t.grids.shape[1] for t in items}
    if len(axes) > 1:
        grids = sorted({str(t.grid) for t in items})
        raise TokenError(f"cannot join: grids {', '.join(grids[:4])}. Pictures join pictures, and clips join clips.")
    own = [torch.tensor([t.grid] * len(t)).view(-1, *axes) if (grids := t.on_host("grids")) is None else grids for t in items]
    return (longest,), torch.cat(own).to(head.ids.device, non_blocking=True)


def _equal_side_vectors(a: Mapping[str, tuple[Tensor, ...]], b: Mapping[str, tuple[Tensor, ...]]) -> bool:
    """Whether two mappings hold equal vectors; the devices may differ."""
    if a.keys() != b.keys() or any(len(a[n]) != len(b[n]) for n in a):
        return False
    pairs = [pair for n in a for pair in zip(a[n], b[n], strict=True)]
    return all(x.shape == y.shape and torch.equal(x.cpu(), y.cpu()) for x, y in pairs)


def present(values: Iterable[T | None]) -> list[T]:
    """The values, none of which is None: the items of one batch have the same fields."""
    found = []
    for value in values:
        assert value is not None
        found.append(value)
    return found


def _cat_padded(rows: Sequence[Tensor]) -> Tensor:
    width = max(r.shape[1] for r in rows)  # items may have different numbers of segments
    return torch.cat([torch.nn.functional.pad(r, (0, width - r.shape[1])) for r in rows])


def _check_range(name: str, value: Any, limit: int) -> None:
    if not 1 <= _whole(name, value) <= limit:
        raise TokenError(f"{name} is {value!r:.40}; allowed: 1 to {limit}.")


def _whole(name: str, value: Any) -> int:
    """`value` as an int, if it is a whole number of Python, NumPy or PyTorch and not a bool; else raises TokenError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TokenError(f"{name} is {value!r:.40} ({type(value).__name__}); it must be a whole number.") from None
