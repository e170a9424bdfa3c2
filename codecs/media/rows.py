"""Rows of data sets of the package `datasets` as blobs: the encoded bytes, without decoding by that package."""

from collections.abc import Sequence
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
        data_files: as in `datasets.load_dataset`, for builders that take files or URLs.
        streaming: read in order without downloading the whole; training then shuffles only shards, and items within a buffer.
        shuffle_buffer: number of items of that buffer.
        allow_paths: read files of this machine if rows contain paths instead of media; see `blobs.open_cell`.
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
    """A row of a data set with random access, whose column has cells `{"bytes", "path"}`; `allow_paths`: see `blobs.open_cell`."""

    label: str
    rows: Any
    index: int
    column: str
    allow_paths: bool = False

    @property
    def name(self) -> str:
        """Name of the data set and index of the row: `data set[row]`."""
        return f"{self.label}[{self.index}]"

    def open(self) -> Path | BinaryIO:
        """Return the row's bytes, or the path of its file."""
        return open_cell(self.cell, allow_paths=self.allow_paths)

    @property
    def cell(self) -> Any:
        """The cell as `datasets` gives it: a dict of an undecoded picture or sound, or a text, number or list."""
        return self.rows[self.index][self.column]


def datasets_package() -> Any:
    """Import the package `datasets` and return it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError("this source needs the package 'datasets': pip install 'tokenzoo[data]'.") from error
    return datasets


def load_hub(entry: HubDataset, *, keep_columns: bool = False, also: Sequence[str] = ()) -> Any:
    """Open a data set with decoding of its media column switched off.

    Args:
        entry: the data set, its column and how to read it.
        keep_columns: keep the other columns; the entry then need not name the media column.
        also: further columns that are kept, undecoded too.

    Raises:
        ConfigError: `datasets` is not installed, or a column does not exist.
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
    for column in (entry.column, *also):
        if columns is not None and column not in columns and (column or not keep_columns):
            raise ConfigError(f"the data set {entry.hub!r} has no column {column!r}; it has {', '.join(columns)}.")
        rows = undecoded(rows, column)
    return rows if columns is None or keep_columns else rows.select_columns(list(dict.fromkeys((entry.column, *also))))


def undecoded(rows: Any, column: str) -> Any:
    """The data set with decoding switched off in `column`, which then has the encoded bytes of pictures or sounds."""
    datasets = datasets_package()
    feature = (rows.features or {}).get(column)
    for plain in (datasets.Image(decode=False), datasets.Audio(decode=False)):
        if isinstance(feature, type(plain)):
            rows = rows.cast_column(column, plain)
    return rows
