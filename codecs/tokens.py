"""`Tokens`: what every tokenizer returns from `encode` and takes in `decode`, and its file format.

Letters: B batch, K codebooks, L token positions, V codebook size, H W pixels, T samples.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .spec import id_bits


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of token sequences, possibly ragged, with what `decode` needs to give back what came in.

    Attributes:
        ids: int64 `[B, K, L]`; positions at or past an item's length hold 0.
        vocab_sizes: V of each codebook, K numbers; ids of codebook k lie in `0..V[k]-1`.
        grid: the shape that L unrolls from, row by row: `(h, w)` for a picture, `(L,)` for sequences and for ragged
            batches of pictures, whose own shapes stand in `grids`.
        lengths: int64 `[B]`, valid positions of each item.
        grids: int64 `[B, 2]`, each picture's own `(h, w)`, where they differ; item i unrolls `ids[i, :, :h*w]`.
        sizes: int64 `[B, n]`, size of what `decode` gives back: `(T,)` samples at `sample_rate_hz`, or `(H, W)` pixels, both
            the original's but of a picture that was cropped, where it is that of the part kept.
        sample_rate_hz: rate of the original audio (not of the codec), or None for pictures.
        scale: float32 `[B, S]`, loudness factors by segment that `decode` multiplies in again, or None.
        strides: multi-rate layout (SNAC): codebook k holds one id for every `strides[k]` positions, repeated to fill
            them; empty when all are 1.
        scales: multi-scale layout (VAR): L is the concatenation of these `(h, w)` grids, coarse to fine; else empty.
        names: one name for each codebook where they mean different things (`semantic`, `acoustic`, `vocal`); else empty.
        book_grids: int64 `[B, K, 2]`, where codebooks have grids of their own (DualViTok): codebook k of item i unrolls
            `ids[i, k, :h*w]`, the positions behind hold 0; `grid` is that of the codebook with the most. Else None.
    """

    ids: Tensor
    vocab_sizes: tuple[int, ...]
    grid: tuple[int, ...] = ()
    lengths: Tensor = None  # type: ignore[assignment]  # filled in below
    grids: Tensor | None = None
    sizes: Tensor | None = None
    sample_rate_hz: int | None = None
    scale: Tensor | None = None
    strides: tuple[int, ...] = ()
    scales: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()
    book_grids: Tensor | None = None

    def __post_init__(self) -> None:
        ids = self.ids
        if ids.ndim != 3 or ids.is_floating_point():
            raise ValueError(f"ids must be integers [B, K, L]; got {ids.dtype} {list(ids.shape)}.")
        if len(self.vocab_sizes) != ids.shape[1]:
            raise ValueError(f"vocab_sizes has {len(self.vocab_sizes)} entries for K={ids.shape[1]} codebooks.")
        object.__setattr__(self, "ids", ids.long())
        object.__setattr__(self, "vocab_sizes", tuple(int(v) for v in self.vocab_sizes))
        object.__setattr__(self, "grid", tuple(int(g) for g in self.grid) or (ids.shape[2],))
        if self.lengths is None:
            object.__setattr__(self, "lengths", torch.full((ids.shape[0],), ids.shape[2], dtype=torch.int64))
        if self.lengths.shape != (ids.shape[0],) or (len(ids) and int(self.lengths.max()) > ids.shape[2]):
            raise ValueError(f"lengths must be [B={len(ids)}] with values up to L={ids.shape[2]}; got {self.lengths}.")
        for name in ("strides", "names"):
            if getattr(self, name) and len(getattr(self, name)) != ids.shape[1]:
                raise ValueError(f"{name} must have one entry for each of {ids.shape[1]} codebooks.")
        if self.book_grids is not None and self.book_grids.shape != (*ids.shape[:2], 2):
            raise ValueError(f"book_grids must be [B, K, 2] for ids {list(ids.shape)}; got {list(self.book_grids.shape)}.")

    def __len__(self) -> int:
        """B, the number of items."""
        return self.ids.shape[0]

    def __iter__(self) -> Iterator["Tokens"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        b, k, length = self.ids.shape
        vocab = self.vocab_sizes[0] if len(set(self.vocab_sizes)) == 1 else list(self.vocab_sizes)
        rag = "" if bool((self.lengths == length).all()) else f", lengths {self.lengths.tolist()}"
        return f"Tokens(ids [{b}, {k}, {length}], V {vocab}, grid {self.grid}{rag}, {sum(self.bits())} bits)"

    @property
    def num_codebooks(self) -> int:
        """K, integers at each position."""
        return self.ids.shape[1]

    def __getitem__(self, index: int | slice) -> "Tokens":
        """One item, as a batch of one cut to its own length and grid, or a slice of items."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"item {index} of {len(self)} tokens")
            index = index % len(self)
            one = self[index : index + 1]
            length = int(one.lengths[0])
            grid = (length,)
            if self.grids is not None:
                grid = tuple(self.grids[index].tolist())
            elif length == self.ids.shape[2]:
                grid = self.grid
            return dataclasses.replace(one, ids=one.ids[:, :, :length], grid=grid, grids=None)
        return dataclasses.replace(self, **{n: v[index] for n, v in self._tensors().items()})

    def first(self, *, codebooks: int | None = None, positions: int | None = None) -> "Tokens":
        """Keep the first `codebooks` codebooks and / or the first `positions` positions of every item.

        Whether the shorter tokens decode is the tokenizer's matter (`spec.prefix`).

        Raises:
            ValueError: a number below 1 or above what there is, or positions that split a multi-rate frame.
        """
        out = self
        if codebooks is not None:
            _check_range("codebooks", codebooks, self.num_codebooks)
            out = out._books(list(range(codebooks)))
        if positions is not None:
            _check_range("positions", positions, self.ids.shape[2])
            if self.strides and positions % max(self.strides):
                raise ValueError(f"positions is {positions}; it must be a multiple of the stride {max(self.strides)}.")
            if out.book_grids is not None:
                raise ValueError("codebooks with grids of their own have no common positions; cut tokens.track(NAME) instead.")
            whole = positions == self.ids.shape[2]
            out = dataclasses.replace(
                out,
                ids=out.ids[:, :, :positions],
                grid=self.grid if whole else (positions,),
                grids=self.grids if whole else None,
                lengths=self.lengths.clamp(max=positions),
            )
        return out

    def track(self, name: str) -> "Tokens":
        """Keep only the codebooks called `name`, e.g. `tokens.track("semantic")`."""
        keep = [k for k, n in enumerate(self.names) if n == name]
        if not keep:
            raise ValueError(f"no codebook is called {name!r}; names: {sorted(set(self.names)) or 'none'}.")
        return self._books(keep)

    def _books(self, keep: list[int]) -> "Tokens":
        """Only the codebooks `keep`; of those with grids of their own, as many positions as these take."""
        cut = {n: tuple(getattr(self, n)[k] for k in keep) for n in ("vocab_sizes", "strides", "names") if getattr(self, n)}
        out = dataclasses.replace(self, ids=self.ids[:, keep], book_grids=None, **cut)
        if self.book_grids is None:
            return out
        own = self.book_grids[:, keep]  # [B, K, 2]
        lengths, largest = own.prod(-1).max(dim=1)
        grids = own[torch.arange(len(own), device=own.device), largest]  # [B, 2]
        longest, same = max(lengths.tolist(), default=0), bool((grids == grids[:1]).all())
        return dataclasses.replace(
            out,
            ids=out.ids[..., :longest],
            lengths=lengths,
            grid=tuple(grids[0].tolist()) if same and len(grids) else (longest,),
            grids=None if same else grids,
            book_grids=None if bool((own == grids[:, None]).all()) else own,
        )

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors that are there, by field."""
        fields = ("ids", "lengths", "grids", "sizes", "scale", "book_grids")
        return {n: v for n in fields if (v := getattr(self, n)) is not None}

    def to(self, device: torch.device | str) -> "Tokens":
        """The same tokens with all tensors on `device`."""
        return dataclasses.replace(self, **{n: v.to(device) for n, v in self._tensors().items()})

    def counts(self) -> list[list[int]]:
        """Ids that each item really has of each codebook, `[B][K]`: its positions, one for every stride, or its own grid."""
        if self.book_grids is not None:
            return self.book_grids.prod(-1).tolist()
        strides = self.strides or (1,) * self.num_codebooks
        return [[-(-length // s) for s in strides] for length in self.lengths.tolist()]

    def bits(self) -> list[int]:
        """Bits of each item: the sum over codebooks of ids x ceil(log2 V)."""
        widths = [id_bits(v) for v in self.vocab_sizes]
        return [sum(n * w for n, w in zip(counts, widths, strict=True)) for counts in self.counts()]

    def equal(self, other: "Tokens") -> bool:
        """True where every field is the same."""
        for f in dataclasses.fields(self):
            a, b = getattr(self, f.name), getattr(other, f.name)
            if isinstance(a, Tensor) and isinstance(b, Tensor):
                if a.shape != b.shape or not torch.equal(a.cpu(), b.cpu()):
                    return False
            elif a is not b and (isinstance(a, Tensor) or isinstance(b, Tensor) or a != b):
                return False
        return True

    @staticmethod
    def cat(items: Sequence["Tokens"]) -> "Tokens":
        """Join batches of the same tokenizer along B, padding ids with 0 to the longest.

        Raises:
            ValueError: empty list, or batches that differ in vocabulary, strides, scales or names.
        """
        if not items:
            raise ValueError("Tokens.cat needs at least one item.")
        head = items[0]
        for t in items[1:]:
            for name in ("vocab_sizes", "strides", "scales", "names", "sample_rate_hz"):
                if getattr(t, name) != getattr(head, name):
                    raise ValueError(f"cannot join: {name} is {getattr(head, name)} and {getattr(t, name)}.")
        longest = max(t.ids.shape[2] for t in items)
        ids = torch.cat([torch.nn.functional.pad(t.ids, (0, longest - t.ids.shape[2])) for t in items])
        same = all(t.grid == head.grid and t.grids is None for t in items)
        grids = None
        if not same and all(len(t.grid) == 2 or t.grids is not None for t in items):
            grids = torch.cat([torch.tensor([t.grid] * len(t)) if t.grids is None else t.grids for t in items])
        return dataclasses.replace(
            head,
            ids=ids,
            grid=head.grid if same else (longest,),
            grids=grids,
            lengths=torch.cat([t.lengths for t in items]),
            sizes=None if head.sizes is None else torch.cat([t.sizes for t in items]),  # type: ignore[misc]
            scale=None if head.scale is None else _cat_padded([t.scale for t in items]),  # type: ignore[misc]
            book_grids=None if head.book_grids is None else torch.cat([t.book_grids for t in items]),  # type: ignore[misc]
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokens to `path` in the format of `token_file.py`; an existing file is replaced whole."""
        from .token_file import to_bytes

        path = Path(path)
        part = path.with_name(path.name + f".{os.getpid()}.part")
        part.write_bytes(to_bytes(self))
        os.replace(part, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Tokens":
        """Read a file that `save` wrote.

        Raises:
            TokenFileError: not a token file, a newer version, truncated or altered; the message says which.
        """
        from .token_file import from_bytes

        return from_bytes(Path(path).read_bytes(), name=str(path))


def _cat_padded(rows: Sequence[Tensor]) -> Tensor:
    width = max(r.shape[1] for r in rows)  # items may have different numbers of segments
    return torch.cat([torch.nn.functional.pad(r, (0, width - r.shape[1])) for r in rows])


def _check_range(name: str, value: int, limit: int) -> None:
    if not 1 <= value <= limit:
        raise ValueError(f"{name} is {value}; allowed: 1 to {limit}.")
