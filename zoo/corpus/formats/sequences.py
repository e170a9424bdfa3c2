"""Common parts of the formats of packed sequences: packing a shard's rows, and the Parquet file of the other columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ....codecs.config import ConfigError
from ..files import CorpusError
from ..packing.base import Packing
from ..packing.bpe import MAX_SPAN
from ..records import Layout, to_tokens
from .parquet import Rows, check_columns, mapped, write_parquet

#: Ending of the file with all columns but the ids.
SIDE = ".side.parquet"


def check_flat(packing: Packing | None, kind: str) -> Packing:
    """A packing of one id a step, or ConfigError."""
    if packing is None:
        raise ConfigError(f"format {kind!r} needs a packing.")
    if packing.streamed:
        raise ConfigError(
            f"{packing.config.kind} packing has K ids a step; format {kind!r} holds sequences of one. Take format 'parquet', "
            "and give the packing to TokenDataset, or pack 'interleaved' or 'coarse_first'."
        )
    return packing


def packed_rows(table: pa.Table, layout: Layout, packing: Packing, kind: Any) -> list[np.ndarray]:
    """Pack each row of a table; returns the ids `[S]` of each sequence, of type `kind`."""
    rows = Rows(table)
    out = []
    for i in range(table.num_rows):
        tokens = to_tokens(rows.row(i), layout)
        out.append(packing.pack(tokens).input_ids[0].numpy().astype(kind))
    return out


def map_ids(path: Path, kind: str) -> np.ndarray:
    """All ids of a `.bin` file, mapped.

    Raises:
        CorpusError: no whole number of ids.
    """
    size = path.stat().st_size
    if size % np.dtype(kind).itemsize:
        raise CorpusError(f"{path} has {size} bytes, which is no whole number of ids of {np.dtype(kind).itemsize} bytes.")
    return np.memmap(path, kind, "r") if size else np.zeros(0, kind)


def write_side(folder: Path, name: str, table: pa.Table, layout: Layout) -> Path:
    """Write all columns but the ids to the Parquet file beside the shard."""
    path = folder / f"{name}{SIDE}"
    table = table.drop_columns([f"ids_{k}" for k in range(len(layout.vocab_sizes))])
    write_parquet(path, table, plain={"key"})
    return path


class SequenceShard:
    """See `Shard`: ids mapped from a file, the rest from the file beside it.

    Args:
        ids: all sequences one after another.
        offsets: int64 `[n + 1]`, where each begins in `ids`.
    """

    def __init__(
        self, ids: np.ndarray, offsets: np.ndarray, folder: Path, side: str, checksum: str, layout: Layout, cache: Path
    ) -> None:
        table = mapped(folder / side, checksum, cache)
        check_columns(table, layout, folder / side, ids=False)
        steps = np.diff(offsets)
        if offsets.dtype != np.int64 or len(steps) != table.num_rows or offsets[0] != 0 or offsets[-1] != len(ids):
            raise CorpusError(f"{folder}: the index beside {side} does not fit its {table.num_rows} rows and {len(ids)} ids.")
        # begins are ids; every position has an id, of which a merged one (`packing/bpe.py`) holds `MAX_SPAN` at most
        if (steps < np.maximum(1, table["length"].to_numpy() // MAX_SPAN)).any():
            raise CorpusError(f"{folder}: a sequence beside {side} is shorter than its length says.")
        self.ids, self.offsets = ids, offsets
        self.rows = Rows(table)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int) -> dict[str, Any]:
        """All columns of one item but the ids."""
        return self.rows.row(index)

    def column(self, name: str) -> Sequence[Any]:
        """One column of all items."""
        return self.rows.column(name)

    def sequence(self, index: int) -> np.ndarray:
        """Ids of one item."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]
