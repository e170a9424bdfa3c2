"""Shards of Megatron-LM's indexed data sets (`megatron/core/datasets/indexed_dataset.py`): every item is one document.

    .bin   all sequences one after another, uint16 (int32 from 65500 ids on)
    .idx   9 bytes "MMIDIDX" and two zeros; version 1, uint64; code of the type, uint8; number of sequences and of document
           bounds, uint64 each; lengths, int32 each; offsets in bytes, int64 each; document bounds 0, 1, .. n, int64 each
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ....codecs.files import replacing
from ..files import CorpusError
from ..packing.base import Packing
from ..records import Layout
from .parquet import one_each
from .sequences import SIDE, SequenceShard, check_flat, map_ids, packed_rows, write_side

_MAGIC = b"MMIDIDX\x00\x00"
_HEAD = struct.Struct("<9sQBQQ")
_CODES = {"<u2": 8, "<i4": 4}


class MegatronWriter:
    """See the module's docstring."""

    def __init__(self, layout: Layout, packing: Packing) -> None:
        self.layout, self.packing = layout, packing
        self.kind = "<u2" if packing.vocabulary.size < 65500 else "<i4"

    def write(self, folder: Path, name: str, table: pa.Table) -> list[Path]:
        """See `Writer`."""
        rows = packed_rows(table, self.layout, self.packing, np.dtype(self.kind))
        lengths = np.array([len(r) for r in rows], "<i4")
        starts = np.cumsum([0, *(r.nbytes for r in rows[:-1])]).astype("<i8")
        with replacing(folder / f"{name}.bin") as file:
            for row in rows:
                file.write(row.tobytes())
        with replacing(folder / f"{name}.idx") as file:
            file.write(_HEAD.pack(_MAGIC, 1, _CODES[self.kind], len(rows), len(rows) + 1))
            file.write(lengths.tobytes() + starts.tobytes() + np.arange(len(rows) + 1, dtype="<i8").tobytes())
        return [folder / f"{name}.bin", folder / f"{name}.idx", write_side(folder, name, table, self.layout)]


def read_index(path: Path) -> tuple[str, np.ndarray]:
    """NumPy type and offsets in ids, int64 `[n + 1]`, of an `.idx` file.

    Raises:
        CorpusError: not such a file, of a type that is not written here, or tables that contradict each other.
    """
    data = path.read_bytes()
    head = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (b"", 0, 0, 0, 0)
    magic, version, code, count, bounds = head
    kinds = {c: k for k, c in _CODES.items()}
    if magic != _MAGIC or version != 1 or code not in kinds:
        raise CorpusError(f"{path} is no Megatron index of version 1 with uint16 or int32 ids.")
    if bounds != count + 1 or len(data) != _HEAD.size + 4 * count + 8 * count + 8 * bounds:
        raise CorpusError(f"{path} states {count} sequences, which its {len(data)} bytes do not hold.")
    lengths = np.frombuffer(data, "<i4", count, _HEAD.size)
    starts = np.frombuffer(data, "<i8", count, _HEAD.size + 4 * count)
    documents = np.frombuffer(data, "<i8", bounds, _HEAD.size + 12 * count)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    width = np.dtype(kinds[code]).itemsize
    if (lengths < 0).any() or (starts != offsets[:-1] * width).any() or (documents != np.arange(bounds)).any():
        raise CorpusError(f"{path}: lengths, offsets and documents contradict each other.")
    return kinds[code], offsets


def writer(layout: Layout, packing: Packing | None, about: dict[str, Any]) -> MegatronWriter:
    """See `formats.writer`."""
    return MegatronWriter(layout, check_flat(packing, "megatron"))


def open_shard(folder: Path, files: dict[str, Any], layout: Layout, cache: Path) -> SequenceShard:
    """See `formats.open_shard`."""
    index, ids, side = one_each(folder, files, ".idx", ".bin", SIDE)
    kind, offsets = read_index(folder / index)
    return SequenceShard(map_ids(folder / ids, kind), offsets, folder, side, files[side]["sha256"], layout, cache)
