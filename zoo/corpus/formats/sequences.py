"""Common parts of the formats of packed sequences: packing a shard's rows, and the Parquet file of the other columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ....codecs.config import ConfigError
from ..packing.base import Packing
from ..records import Layout, to_tokens
from .parquet import Rows, mapped, write_parquet

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

    def __init__(self, ids: np.ndarray, offsets: np.ndarray, folder: Path, files: dict[str, Any], cache: Path) -> None:
        side = next(n for n in files if n.endswith(SIDE))
        self.ids, self.offsets = ids, offsets
        self.rows = Rows(mapped(folder / side, files[side]["sha256"], cache))

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
