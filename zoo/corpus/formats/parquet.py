"""Parquet shards. Read as memory-mapped Arrow: each file is unpacked once into a cache, and mapped from there."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....codecs.files import replacing
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


def mapped(path: Path, checksum: str, cache: Path) -> pa.Table:
    """A Parquet file as a memory-mapped Arrow table of one chunk; the Arrow file is made on first use.

    Args:
        checksum: of the Parquet file; it names the file in the cache, so that a changed shard is unpacked anew.
        cache: folder, made if missing.
    """
    target = cache / f"{checksum[:32]}.arrow"
    if not target.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(path, memory_map=True).combine_chunks()
        with replacing(target) as file, pa.ipc.new_file(file, table.schema) as out:
            out.write_table(table, max_chunksize=max(1, table.num_rows))
    return pa.ipc.open_file(pa.memory_map(str(target))).read_all()


def writer(layout: Layout, packing: Packing | None, about: dict[str, Any]) -> ParquetWriter:
    """See `formats.writer`."""
    return ParquetWriter(layout, about)


def open_shard(folder: Path, files: dict[str, Any], layout: Layout, cache: Path) -> ParquetShard:
    """See `formats.open_shard`."""
    name = next(iter(files))
    return ParquetShard(Rows(mapped(folder / name, files[name]["sha256"], cache)))
