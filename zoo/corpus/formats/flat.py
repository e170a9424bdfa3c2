"""Flat shards: `.bin`, little-endian uint16 (uint32 above 65536 ids) of all sequences one after another, and their offsets.

    ids = numpy.memmap("shard-00000.bin", "uint16"); offsets = numpy.load("shard-00000.index.npy")
    ids[offsets[i] : offsets[i + 1]]     # item i, from its begin token to its end token
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ....codecs.files import replacing
from ..packing.base import Packing
from ..records import Layout
from .sequences import SequenceShard, check_flat, packed_rows, write_side


class FlatWriter:
    """See the module's docstring."""

    def __init__(self, layout: Layout, packing: Packing) -> None:
        self.layout, self.packing = layout, packing
        self.kind = np.dtype("<u2" if packing.vocabulary.size <= 2**16 else "<u4")

    def write(self, folder: Path, name: str, table: pa.Table) -> list[Path]:
        """See `Writer`."""
        rows = packed_rows(table, self.layout, self.packing, self.kind)
        offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype("<i8")
        with replacing(folder / f"{name}.bin") as file:
            for row in rows:
                file.write(row.tobytes())
        with replacing(folder / f"{name}.index.npy") as file:
            np.save(file, offsets)
        return [folder / f"{name}.bin", folder / f"{name}.index.npy", write_side(folder, name, table, self.layout)]


def writer(layout: Layout, packing: Packing | None, about: dict[str, Any]) -> FlatWriter:
    """See `formats.writer`."""
    return FlatWriter(layout, check_flat(packing, "flat"))


def open_shard(folder: Path, files: dict[str, Any], layout: Layout, cache: Path) -> SequenceShard:
    """See `formats.open_shard`."""
    path = folder / next(n for n in files if n.endswith(".bin"))
    offsets = np.load(folder / next(n for n in files if n.endswith(".index.npy")), mmap_mode="r")
    width = path.stat().st_size // max(1, int(offsets[-1]))
    ids = np.memmap(path, "<u4" if width == 4 else "<u2", "r")
    return SequenceShard(ids, offsets, folder, files, cache)
