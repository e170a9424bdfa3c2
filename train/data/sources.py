"""Lists of encoded items: files of folders, members of tar files, rows of hub data sets.

Every source is a list of blobs in a fixed order that can be read at random, so that the order of training is a
function of the seed alone. (Streaming hub data sets are the exception; see `stream.py`.)
"""

import io
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...codecs.config import ConfigError
from .config import Entries, HubDataset
from .media import Blob


@dataclass(frozen=True, slots=True)
class FileBlob:
    """A file of its own."""

    path: str

    @property
    def name(self) -> str:
        """The path as it was found."""
        return self.path

    def open(self) -> Path:
        """Return the path."""
        return Path(self.path)


@dataclass(frozen=True, slots=True)
class TarBlob:
    """A member of an uncompressed tar file, read at its offset without reading the rest."""

    tar: str
    member: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        """`file.tar/member`."""
        return f"{self.tar}/{self.member}"

    def open(self) -> BinaryIO:
        """Return the member's bytes as a file."""
        with open(self.tar, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise ValueError(f"{self.name} is cut short: {len(data)} of {self.size} bytes.")
        return io.BytesIO(data)


@dataclass(frozen=True, slots=True)
class RowBlob:
    """A row of a map-style hub data set; the column holds `{"bytes", "path"}` (decoding is switched off)."""

    label: str
    rows: Any
    index: int
    column: str

    @property
    def name(self) -> str:
        """`data set[row]`."""
        return f"{self.label}[{self.index}]"

    def open(self) -> Path | BinaryIO:
        """Return the row's bytes, or the path of its file."""
        return open_cell(self.rows[self.index][self.column])


def open_cell(cell: Any) -> Path | BinaryIO:
    """Open what `datasets` keeps in an undecoded Image or Audio column, or plain bytes or a path."""
    if isinstance(cell, (bytes, bytearray)):
        return io.BytesIO(cell)
    if isinstance(cell, str):
        return Path(cell)
    if isinstance(cell, dict) and cell.get("bytes") is not None:
        return io.BytesIO(cell["bytes"])
    if isinstance(cell, dict) and cell.get("path"):
        return Path(cell["path"])
    raise ValueError(f"a cell of type {type(cell).__name__} holds neither bytes nor a path.")


def as_list(entries: Entries) -> tuple[str | HubDataset, ...]:
    """Return entries as a tuple."""
    return entries if isinstance(entries, tuple) else (entries,)


def collect(entries: Entries, suffixes: Sequence[str]) -> list[Blob]:
    """List all items of `entries` whose name ends in one of `suffixes`.

    Raises:
        ConfigError: an entry that does not exist, or holds nothing of the kind.
    """
    blobs: list[Blob] = []
    for entry in as_list(entries):
        if isinstance(entry, HubDataset):
            found: list[Blob] = list(_hub_rows(entry))
        else:
            found = [b for path in expand_braces(entry) for b in _from_path(path, suffixes)]
        if not found:
            raise ConfigError(f"{entry!r} holds no file that ends in {', '.join(suffixes)}.")
        blobs += found
    return blobs


def expand_braces(pattern: str) -> list[str]:
    """Expand `name-{000..017}.tar` and `{a,b}/c` as WebDataset does; other text is returned as it is."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if span:
        low, high, width = int(span[1]), int(span[2]), len(span[1])
        options = [f"{i:0{width}d}" for i in range(low, high + 1)]
    else:
        options = match[1].split(",")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [head + option + rest for option in options for rest in expand_braces(tail)]


def _from_path(path: str, suffixes: Sequence[str]) -> list[Blob]:
    if "://" in path or path.startswith("pipe:"):
        raise ConfigError(
            f"{path!r} is not on this machine; use a hub entry "
            "{hub: webdataset, data_files: [URL], column: ..., streaming: true}."
        )
    expanded = os.path.expanduser(path)
    if os.path.isdir(expanded):
        return _from_folder(expanded, suffixes)
    if not os.path.isfile(expanded):
        raise ConfigError(f"{path!r} is neither a folder nor a file.")
    if expanded.endswith(".tar"):
        return _from_tar(expanded, suffixes)
    return [FileBlob(expanded)]


def _from_folder(folder: str, suffixes: Sequence[str]) -> list[Blob]:
    """Files below `folder` in sorted order, tar files opened; folders and files that begin with a dot are left out."""
    blobs: list[Blob] = []
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(d for d in folders if not d.startswith("."))
        for file in sorted(files):
            path = os.path.join(root, file)
            if file.startswith("."):
                continue
            if file.lower().endswith(".tar"):
                blobs += _from_tar(path, suffixes)
            elif file.lower().endswith(tuple(suffixes)):
                blobs.append(FileBlob(path))
    return blobs


def _from_tar(path: str, suffixes: Sequence[str]) -> list[Blob]:
    try:
        with tarfile.open(path, "r:") as tar:
            return [
                TarBlob(path, m.name, m.offset_data, m.size)
                for m in tar
                if m.isfile() and m.name.lower().endswith(tuple(suffixes))
            ]
    except tarfile.TarError as error:
        raise ConfigError(f"{path} is no plain tar file: {error}.") from error


def _hub_rows(entry: HubDataset) -> list[Blob]:
    if entry.streaming:
        raise ConfigError(f"the data set {entry.hub!r} is streamed; it cannot be mixed with other entries.")
    rows = load_hub(entry)
    return [RowBlob(entry.hub, rows, i, entry.column) for i in range(len(rows))]


def load_hub(entry: HubDataset, *, keep_columns: bool = False) -> Any:
    """Open a hub data set with decoding of its media column switched off; the file bytes are wanted.

    `keep_columns` keeps the other columns, and then the entry need not name the media column.

    Raises:
        ConfigError: `datasets` is not installed, or the column does not exist.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError("data sets of the hub need the package 'datasets': pip install datasets.") from error
    rows = datasets.load_dataset(
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
    feature = (rows.features or {}).get(entry.column)
    for undecoded in (datasets.Image(decode=False), datasets.Audio(decode=False)):
        if isinstance(feature, type(undecoded)):
            rows = rows.cast_column(entry.column, undecoded)
    return rows if columns is None or keep_columns else rows.select_columns([entry.column])
