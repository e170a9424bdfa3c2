"""Flat shards: `.bin`, little-endian uint16 (uint32 above 65536 ids) of all sequences one after another, and their offsets.

    ids = numpy.memmap("shard-00000.bin", "uint16"); offsets = numpy.load("shard-00000.index.npy")
    ids[offsets[i] : offsets[i + 1]]     # item i, from its begin token to its end token
"""

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
    index, data, side = one_each(folder, files, ".index.npy", ".bin", SIDE)
    offsets = read_index(folder / index)
    size, count = (folder / data).stat().st_size, int(offsets[-1])
    if size not in (2 * count, 4 * count):
        raise CorpusError(f"{folder / data} has {size} bytes; {count} ids, as its index says, take {2 * count} or {4 * count}.")
    ids = map_ids(folder / data, "<u4" if size == 4 * count else "<u2")
    return SequenceShard(ids, offsets, folder, side, files[side]["sha256"], layout, cache)


def read_index(path: Path) -> np.ndarray:
    """Offsets in ids, int64 `[n + 1]`, of an `.index.npy` file.

    Raises:
        CorpusError: no array of int64 that rises from 0.
    """
    try:
        offsets = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy's reader of headers raises whatever its parsers do
        raise CorpusError(f"{path} is no index that can be read ({(str(error).splitlines() or ['?'])[0][:200]}).") from error
    wrong = not isinstance(offsets, np.ndarray) or offsets.dtype != np.int64 or offsets.ndim != 1 or len(offsets) < 1
    if wrong or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise CorpusError(f"{path} is no list of offsets that rise from 0.")
    return offsets
