"""Tokens of one item as a row of an Arrow table, and back exactly.

    key              string            where the item came from
    ids_0 .. ids_K-1 list<uint8/16/32> ids of each codebook, in the smallest type that holds V; multi-rate codebooks hold
                                       each id once, not repeated over its stride
    length           int32             token positions L
    grid             list<int32>       (h, w) of a picture, (t, h, w) of a clip, (L,) of a sequence
    size             list<int64>       of the original: (H, W) pixels, (T, H, W) of a clip, or (T,) samples
    sample_rate_hz   int32             of the original sound; null for pictures
    scale            list<float>       loudness factors, of tokenizers that have them
    book_grids       list<int32>       K pairs (h, w), of tokenizers whose codebooks have separate grids
    vectors_NAME     list<list<float>> rows of a side vector (a voice, a codebook), of tokenizers whose tokens carry them
    ...                                the source's own columns

Letters: K codebooks, L token positions, V codebook size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ...codecs.config import ConfigError
from ...codecs.identity import TokenizerId
from ...codecs.tokens import Tokens, present

#: What a layout may state; ids are stored in 32 bits at most, and nothing is allocated by a number that a file made up.
MAX_CODEBOOKS, MAX_VOCAB, MAX_STRIDE, MAX_SIDE = 1024, 2**32, 4096, 2**16
#: What the names of columns with side vectors begin with.
VECTORS = "vectors_"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What all items of a corpus share: fields of `Tokens`, see there; `tokenizer` names the one that made them.

    `planar`, `clips`: positions are a 2-D, a 3-D grid; `loudness`, `book_grids`: there are loudness scales, grids of each codebook;
    `side_vectors`: names of the vectors beside the ids.
    """

    modality: str
    vocab_sizes: tuple[int, ...]
    strides: tuple[int, ...] = ()
    scales: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()
    planar: bool = False
    clips: bool = False
    loudness: bool = False
    book_grids: bool = False
    side_vectors: tuple[str, ...] = ()
    tokenizer: TokenizerId | None = None

    def __post_init__(self) -> None:
        k = len(self.vocab_sizes)
        if self.modality not in ("image", "audio") or not 1 <= k <= MAX_CODEBOOKS:
            raise ConfigError(f"a layout of {k} codebooks of {self.modality!r:.40}; allowed: 1 to {MAX_CODEBOOKS} of image or audio.")
        if not all(1 <= v <= MAX_VOCAB for v in self.vocab_sizes):
            raise ConfigError(f"vocab_sizes {str(self.vocab_sizes)[:80]}: each is 1 to 2^32.")
        if self.strides and (len(self.strides) != k or min(self.strides) != 1 or max(self.strides) > MAX_STRIDE):
            raise ConfigError(f"strides {str(self.strides)[:80]}: one for each of {k} codebooks, 1 to {MAX_STRIDE}, the smallest 1.")
        if self.names and len(self.names) != k:
            raise ConfigError(f"{len(self.names)} names of {k} codebooks.")
        if not all(1 <= n <= MAX_SIDE for scale in self.scales for n in scale):
            raise ConfigError(f"scales {str(self.scales)[:80]}: sides are 1 to {MAX_SIDE}.")

    @staticmethod
    def of(tokens: Tokens, modality: str) -> "Layout":
        """The layout that a tokenizer's tokens have."""
        return Layout(
            modality=modality,
            vocab_sizes=tokens.vocab_sizes,
            strides=tokens.strides,
            scales=tuple((int(h), int(w)) for h, w in tokens.scales),
            names=tokens.names,
            planar=len(tokens.grid) == 2,
            clips=len(tokens.grid) == 3,
            loudness=tokens.scale is not None,
            book_grids=tokens.book_grids is not None,
            side_vectors=tuple(sorted(tokens.side_vectors)),
            tokenizer=tokens.tokenizer,
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """Positions that share one id, for each codebook."""
        return self.strides or (1,) * len(self.vocab_sizes)

    def counts(self, length: int) -> list[int]:
        """Stored ids of each codebook of an item of `length` positions."""
        return [-(-length // s) for s in self.steps]


def id_type(vocab_size: int) -> Any:
    """The smallest unsigned NumPy type that holds ids of a vocabulary."""
    return np.uint8 if vocab_size <= 2**8 else np.uint16 if vocab_size <= 2**16 else np.uint32


def own_fields(layout: Layout) -> list[pa.Field]:
    """Columns of every corpus; the source's own come after them."""
    ids = [pa.field(f"ids_{k}", pa.list_(pa.from_numpy_dtype(id_type(v)))) for k, v in enumerate(layout.vocab_sizes)]
    fields = [pa.field("length", pa.int32()), pa.field("grid", pa.list_(pa.int32())), pa.field("size", pa.list_(pa.int64()))]
    fields += [pa.field("sample_rate_hz", pa.int32())] if layout.modality == "audio" else []
    fields += [pa.field("scale", pa.list_(pa.float32()))] if layout.loudness else []
    fields += [pa.field("book_grids", pa.list_(pa.int32()))] if layout.book_grids else []
    fields += [pa.field(f"{VECTORS}{name}", pa.list_(pa.list_(pa.float32()))) for name in layout.side_vectors]
    return [pa.field("key", pa.string()), *ids, *fields]


def schema(layout: Layout, metadata: pa.Schema) -> pa.Schema:
    """All columns; those of the source whose name is taken get the prefix `source_`."""
    own = own_fields(layout)
    taken = {f.name for f in own}
    return pa.schema([*own, *(f.with_name(f"source_{f.name}" if f.name in taken else f.name) for f in metadata)])


@dataclass(frozen=True)
class Record:
    """One item that was encoded: its place in the source's list, its key, its tokens (a batch of one), its metadata."""

    index: int
    key: str
    tokens: Tokens
    metadata: dict[str, Any]


def to_table(records: Sequence[Record], layout: Layout, metadata: pa.Schema) -> pa.Table:
    """Convert records to an Arrow table, one row each, in their order."""
    whole = schema(layout, metadata)
    columns: dict[str, Any] = {"key": pa.array([r.key for r in records], pa.string())}
    ids = [r.tokens.ids[0].numpy() for r in records]  # [K, L] each
    for k, (v, stride) in enumerate(zip(layout.vocab_sizes, layout.steps, strict=True)):
        columns[f"ids_{k}"] = _lists([one[k, ::stride] for one in ids], id_type(v))
    columns["length"] = pa.array([r.tokens.ids.shape[2] for r in records], pa.int32())
    columns["grid"] = pa.array([list(r.tokens.grid) for r in records], pa.list_(pa.int32()))
    columns["size"] = pa.array([size[0].tolist() for size in present(r.tokens.sizes for r in records)], pa.list_(pa.int64()))
    if layout.modality == "audio":
        columns["sample_rate_hz"] = pa.array([_rate(r.tokens) for r in records], pa.int32())
    if layout.loudness:
        columns["scale"] = _lists([scale[0].numpy() for scale in present(r.tokens.scale for r in records)], np.float32)
    if layout.book_grids:
        grids = present(r.tokens.book_grids for r in records)
        columns["book_grids"] = _lists([g[0].flatten().numpy() for g in grids], np.int32)
    for name in layout.side_vectors:
        rows = [r.tokens.side_vectors[name][0].tolist() for r in records]
        columns[f"{VECTORS}{name}"] = pa.array(rows, pa.list_(pa.list_(pa.float32())))
    own = len(own_fields(layout))
    for field, name in zip(list(whole)[own:], metadata.names, strict=True):
        columns[field.name] = pa.array([r.metadata.get(name) for r in records], field.type)
    return pa.table([columns[f.name] for f in whole], schema=whole)


def to_tokens(row: dict[str, Any], layout: Layout) -> Tokens:
    """The tokens of one row, a batch of one, equal to the output of `encode`; `row` maps column names to arrays or lists."""
    length = int(row["length"])
    ids = np.empty((1, len(layout.vocab_sizes), length), dtype=np.int64)
    for k, stride in enumerate(layout.steps):
        own = np.asarray(row[f"ids_{k}"])
        ids[0, k] = own if stride == 1 else np.repeat(own, stride)[:length]
    rate, scale, grids = row.get("sample_rate_hz"), row.get("scale"), row.get("book_grids")
    return Tokens(
        ids=torch.from_numpy(ids),
        vocab_sizes=layout.vocab_sizes,
        grid=tuple(int(g) for g in row["grid"]),
        sizes=torch.tensor([[int(n) for n in row["size"]]]),
        sample_rate_hz=None if rate is None else torch.tensor([int(rate)]),
        scale=None if scale is None else torch.from_numpy(np.array(scale, dtype=np.float32)[None]),
        strides=layout.strides,
        scales=layout.scales,
        names=layout.names,
        book_grids=None if grids is None else torch.tensor([int(n) for n in grids]).view(1, -1, 2),
        side_vectors={n: (_vectors(row[f"{VECTORS}{n}"]),) for n in layout.side_vectors},
        tokenizer=layout.tokenizer,
    )


def _vectors(rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """Side vectors `[n, D]` of a column's value."""
    return torch.tensor([[float(v) for v in row] for row in rows]).view(len(rows), -1 if len(rows) else 0)


def _rate(tokens: Tokens) -> int | None:
    return None if tokens.sample_rate_hz is None else int(tokens.sample_rate_hz[0])


def id_bytes(table: pa.Table, layout: Layout) -> np.ndarray:
    """Bytes of the ids of each row, uncompressed, int64 `[rows]`."""
    lengths = table["length"].to_numpy()
    total = np.zeros(len(lengths), np.int64)
    for v, stride in zip(layout.vocab_sizes, layout.steps, strict=True):
        total += -(-lengths // stride) * np.dtype(id_type(v)).itemsize
    return total


def _lists(rows: Sequence[np.ndarray], kind: Any) -> pa.Array:
    """Convert arrays to one Arrow list column."""
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(r) for r in rows], out=offsets[1:])
    values = np.concatenate(rows) if rows else np.zeros(0, kind)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.astype(kind)))
