"""Shards on disk, one file a format. Each has a writer, used by `tokenize`, and a reader that needs no model.

    parquet    ids by codebook and all that `decode` needs        any engine that reads Parquet, `datasets`
    tar        `.ids.npy` [K, L] and `.json` for each item        WebDataset
    megatron   packed sequences, `.bin` and `.idx`                Megatron-LM, NeMo
    flat       packed sequences, `.bin` and `.index.npy`          anything that maps a file of uint16 or uint32

The last two hold what a language model reads, in the id space of `packing.json`; a small Parquet file beside each shard
keeps the side information, so that tokens are restored exactly from them too.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from ....codecs.kinds import Kinds
from ..packing.base import Packing
from ..records import Layout

# format -> module with `writer` and `open_shard`
FORMATS: Kinds[ModuleType] = Kinds(
    "format of shards", __name__, {"parquet": "parquet", "tar": "tar", "megatron": "megatron", "flat": "flat"}
)
#: Formats of packed sequences.
PACKED = ("megatron", "flat")


class Writer(Protocol):
    """Protocol of a writer of shards of one format."""

    def write(self, folder: Path, name: str, table: pa.Table) -> list[Path]:
        """Write one shard, each file atomically.

        Args:
            folder: to write to.
            name: prefix of the file names.
            table: rows of `records.py`.

        Returns:
            The files. The same table gives the same bytes.
        """
        ...


class Shard(Protocol):
    """Protocol of random access to the items of one shard."""

    def __len__(self) -> int: ...

    def row(self, index: int) -> dict[str, Any]:
        """Columns of one item, see `records.py`; packed formats leave the ids out."""
        ...

    def column(self, name: str) -> Sequence[Any]:
        """One column without ids, of all items."""
        ...

    def sequence(self, index: int) -> np.ndarray | None:
        """Packed formats: the ids of one item, `[S]`; others: None."""
        ...


def writer(kind: str, layout: Layout, packing: Packing | None, about: dict[str, Any]) -> Writer:
    """The writer of a format; `about` is metadata of the shard, stored if the format has a place for it."""
    return FORMATS.resolve(kind).writer(layout, packing, about)


def open_shard(kind: str, folder: Path, files: dict[str, Any], layout: Layout, cache: Path) -> Shard:
    """Open one shard; `files` is its entry in the manifest, `cache` the folder for unpacked Parquet files."""
    return FORMATS.resolve(kind).open_shard(folder, files, layout, cache)
