"""Rows of data sets that the package `datasets` opens, as blobs: their encoded bytes, not what it would decode."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..config import ConfigError
from .blobs import open_cell


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """A data set of the Hugging Face hub, read through `datasets`.

    Attributes:
        hub: its name, `org/name`; also any path or builder that `datasets.load_dataset` takes ("webdataset", ...).
        column: the column of pictures or sounds (or of their encoded bytes).
        config, split, revision: as in `datasets.load_dataset`.
        data_files: as there, for builders that take files or URLs.
        streaming: read in order without downloading the whole; the order is then shuffled within
            `shuffle_buffer` items and by shard only.
        allow_paths: read files of this machine that rows name instead of holding media; see `blobs.open_cell`.
    """

    hub: str
    column: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    data_files: tuple[str, ...] = ()
    streaming: bool = False
    shuffle_buffer: int = 1000
    allow_paths: bool = False


@dataclass(frozen=True, slots=True)
class RowBlob:
    """A row of a data set that is read at random; its column holds `{"bytes", "path"}`; `allow_paths`: see `blobs.open_cell`."""

    label: str
    rows: Any
    index: int
    column: str
    allow_paths: bool = False

    @property
    def name(self) -> str:
        """`data set[row]`."""
        return f"{self.label}[{self.index}]"

    def open(self) -> Path | BinaryIO:
        """Return the row's bytes, or the path of its file."""
        return open_cell(self.rows[self.index][self.column], allow_paths=self.allow_paths)


def datasets_package() -> Any:
    """The package `datasets`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError("this source needs the package 'datasets': pip install 'tokenzoo[data]'.") from error
    return datasets


def load_hub(entry: HubDataset, *, keep_columns: bool = False) -> Any:
    """Open a data set with decoding of its media column switched off.

    Args:
        entry: which one.
        keep_columns: keep the other columns; the entry then need not name the media column.

    Raises:
        ConfigError: `datasets` is not installed, or the column does not exist.
    """
    rows = datasets_package().load_dataset(
        entry.hub,
        entry.config,
        split=entry.split,
        revision=entry.revision,
        data_files=list(entry.data_files) or None,
        streaming=entry.streaming,
    )
    columns = rows.column_names
    if columns is not None and entry.column not in columns and (entry.column or not keep_columns):
        raise ConfigError(f"the data set {entry.hub!r} has no column {entry.column!r}; it has {', '.join(columns)}.")
    rows = undecoded(rows, entry.column)
    return rows if columns is None or keep_columns else rows.select_columns([entry.column])


def undecoded(rows: Any, column: str) -> Any:
    """A data set whose column of pictures or sounds gives their encoded bytes."""
    datasets = datasets_package()
    feature = (rows.features or {}).get(column)
    for plain in (datasets.Image(decode=False), datasets.Audio(decode=False)):
        if isinstance(feature, type(plain)):
            rows = rows.cast_column(column, plain)
    return rows
