"""Parquet shards. Read as memory-mapped Arrow: each file is unpacked once into a cache, and mapped from there."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ....codecs.files import replacing
from ....codecs.sealing import sha256_of
from ..files import CorpusError, map_arrow, write_arrow
from ..packing.base import Packing
from ..records import Layout, own_fields

_ROW_GROUP = 4096


class ParquetWriter:
    """Zstandard, ids without a dictionary; the file's metadata names its tokenizer."""

    def __init__(self, layout: Layout, about: dict[str, Any]) -> None:
        self.own = {f.name for f in own_fields(layout)}
        self.about = {b"tokenzoo": json.dumps(about).encode("utf-8", "surrogateescape")}

    def write(self, folder: Path, name: str, table: pa.Table) -> list[Path]:
        """See `Writer`."""
        path = folder / f"{name}.parquet"
        write_parquet(path, table.replace_schema_metadata(self.about), plain=self.own)
        return [path]


def write_parquet(path: Path, table: pa.Table, *, plain: set[str]) -> None:
    """Write a table; columns in `plain` get no dictionary."""
    named = [n for n in table.column_names if n not in plain]
    with replacing(path) as file:
        dictionary: Any = named or False  # the stubs know of True and False only
        pq.write_table(table, file, compression="zstd", row_group_size=_ROW_GROUP, use_dictionary=dictionary)


class Rows:
    """Rows of an Arrow table: lists of numbers as NumPy views into the mapped file, all else as Python values."""

    def __init__(self, table: pa.Table) -> None:
        self.count = table.num_rows
        self.lists: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.others: dict[str, pa.ChunkedArray] = {}
        for name in table.column_names:
            column = table[name]
            kind = column.type
            if pa.types.is_list(kind) and pa.types.is_primitive(kind.value_type) and not column.null_count:
                one = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
                self.lists[name] = (one.offsets.to_numpy(), one.values.to_numpy())
            else:
                self.others[name] = column

    def row(self, index: int) -> dict[str, Any]:
        """Columns of one row."""
        out: dict[str, Any] = {n: values[o[index] : o[index + 1]] for n, (o, values) in self.lists.items()}
        return out | {n: c[index].as_py() for n, c in self.others.items()}

    def column(self, name: str) -> Sequence[Any]:
        """All values of one column."""
        if name in self.others:
            return self.others[name].to_pylist()
        offsets, values = self.lists[name]
        return np.split(values, offsets[1:-1])


class ParquetShard:
    """See `Shard`."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows.count

    def row(self, index: int) -> dict[str, Any]:
        """All columns of one item."""
        return self.rows.row(index)

    def column(self, name: str) -> Sequence[Any]:
        """One column of all items."""
        return self.rows.column(name)

    def sequence(self, index: int) -> np.ndarray | None:
        """Returns None: Parquet shards hold no packed sequences."""
        return None


def cached(checksum: str, cache: Path) -> Path:
    """The Arrow file in `cache` of a Parquet file with this sha256, which must have been checked to be one."""
    return cache / f"{checksum}.arrow"


def unpacked(path: Path) -> pa.Table:
    """A Parquet file as an Arrow table of one chunk.

    Raises:
        CorpusError: no such file.
    """
    try:
        table = pq.read_table(path, memory_map=True).combine_chunks()
        _ = table.column_names  # UTF-8, if the file is whole
        return table
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} is no Parquet file that can be read ({(str(error).splitlines() or ['?'])[0][:200]}).") from error


def mapped(path: Path, checksum: str, cache: Path) -> pa.Table:
    """A Parquet file as a memory-mapped Arrow table of one chunk; the Arrow file is made on first use.

    The Arrow file is checked whenever it is opened; one that was altered is made again.

    Args:
        checksum: sha256 of the Parquet file; it names the file in the cache, so that a changed shard is unpacked anew.
        cache: folder, made if missing, for this user only.

    Raises:
        CorpusError: the Parquet file has another checksum, or is none; or the cache cannot be written.
    """
    target = cached(checksum, cache)
    try:
        return map_arrow(target)
    except CorpusError:
        pass  # not made yet, or altered
    if sha256_of(path) != checksum:
        raise CorpusError(f"{path} was altered: its checksum does not match. Copy it again from its source.")
    table = unpacked(path)
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_arrow(target, table)
    except OSError as error:
        raise CorpusError(
            f"Parquet shards are unpacked into {cache}, which cannot be written ({error}). Name another folder with "
            "TokenDataset(cache=...) or TOKENZOO_CACHE."
        ) from error
    return map_arrow(target)


def check_columns(table: pa.Table, layout: Layout, path: Path, *, ids: bool) -> None:
    """Raise CorpusError unless a table has the columns of `records.py` with their types, and as many ids as its lengths say.

    Args:
        ids: the columns of ids are there too.
    """
    for field in own_fields(layout):
        if field.name.startswith("ids_") and not ids:
            continue
        at = table.schema.get_all_field_indices(field.name)
        if len(at) != 1 or table.schema.field(at[0]).type != field.type:
            raise CorpusError(f"{path} has no column {field.name!r} of type {field.type}; it is no shard of this corpus.")
        if table[field.name].null_count and field.name != "sample_rate_hz":
            raise CorpusError(f"{path}: the column {field.name!r} has rows without a value.")
    lengths = table["length"].to_numpy().astype(np.int64)
    if (lengths < 0).any():
        raise CorpusError(f"{path}: a length is below 0.")
    for k, stride in enumerate(layout.steps if ids else ()):
        if not np.array_equal(pc.call_function("list_value_length", [table[f"ids_{k}"]]).to_numpy(), -(-lengths // stride)):
            raise CorpusError(f"{path}: the ids of codebook {k} are not as many as the lengths say.")


def one_each(folder: Path, files: dict[str, Any], *endings: str) -> list[str]:
    """The names of a shard's files, one for each ending; CorpusError where these are not exactly its files."""
    names = [next((n for n in files if n.endswith(e)), "") for e in endings]
    if set(names) != set(files) or len(files) != len(endings):
        raise CorpusError(f"{folder}: a shard of the files {', '.join(files)[:200]}; it needs one {', one '.join(endings)}.")
    return names


def writer(layout: Layout, packing: Packing | None, about: dict[str, Any]) -> ParquetWriter:
    """See `formats.writer`."""
    return ParquetWriter(layout, about)


def open_shard(folder: Path, files: dict[str, Any], layout: Layout, cache: Path) -> ParquetShard:
    """See `formats.open_shard`."""
    (name,) = one_each(folder, files, ".parquet")
    table = mapped(folder / name, files[name]["sha256"], cache)
    check_columns(table, layout, folder / name, ids=True)
    return ParquetShard(Rows(table))
