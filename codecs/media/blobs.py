"""Encoded media from any place: files, members of tar files, cells of tables, bytes in memory, open files.

    with opened(source) as medium:       # a path, bytes, an open binary file, or a blob
        medium.file                      # a binary file that can seek, at its start

Only regular files are opened: reading a FIFO or a terminal would wait for ever, and a device has no end.
"""

import contextlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeGuard, cast, runtime_checkable

from .errors import MediaError, shown


@runtime_checkable
class Blob(Protocol):
    """One encoded item of a source, which is opened only when it is read."""

    @property
    def name(self) -> str:
        """Name of the item in reports; unique within its source."""
        ...

    def open(self) -> Path | BinaryIO:
        """Return a path, or a file object at position 0."""
        ...


#: Types that `read_audio` and `read_image` read.
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Blob


@dataclass(frozen=True, slots=True)
class FileBlob:
    """Encoded media in a separate file."""

    path: str

    @property
    def name(self) -> str:
        """The path, as it was given or found."""
        return self.path

    def open(self) -> Path:
        """Return the path as a `Path`; the file is not opened."""
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
        """Path of the tar file and name of the member: `file.tar/member`."""
        return f"{self.tar}/{self.member}"

    def open(self) -> BinaryIO:
        """Return the member's bytes as a file."""
        with open_regular(self.tar) as file:
            there = file.seek(0, io.SEEK_END) - self.offset
            file.seek(self.offset)
            data = file.read(max(0, min(self.size, there)))  # a header may claim any size
        if len(data) != self.size:
            raise MediaError(f"{shown(self.name)} is cut short: {len(data)} of {self.size} bytes.")
        return io.BytesIO(data)


@dataclass(frozen=True, slots=True)
class MemoryBlob:
    """Encoded media as bytes in memory."""

    name: str
    data: bytes

    def open(self) -> BinaryIO:
        """Return a new file object over the bytes."""
        return io.BytesIO(self.data)


@dataclass(frozen=True, slots=True)
class CellBlob:
    """A cell of a table; `allow_paths`: see `open_cell`."""

    name: str
    cell: Any
    allow_paths: bool = False

    def open(self) -> Path | BinaryIO:
        """Return the cell's bytes as a file, or its path."""
        return open_cell(self.cell, allow_paths=self.allow_paths)


@dataclass(frozen=True, slots=True)
class BrokenBlob:
    """An item that was found but cannot be read; it is counted, and its reason reported, like that of any other failed item."""

    name: str
    reason: str

    def open(self) -> BinaryIO:
        """Raise MediaError with the reason."""
        raise MediaError(self.reason)


def at_hand(blob: Blob) -> Blob:
    """A blob for repeated opening: members of tar files and rows of tables are read into memory once, files stay on disk."""
    source = blob.open()
    return FileBlob(str(source)) if isinstance(source, Path) else MemoryBlob(blob.name, source.read())


def open_cell(cell: Any, *, allow_paths: bool = False, folder: str | os.PathLike[str] = "") -> Path | BinaryIO:
    """Open a cell of an undecoded Image or Audio column of `datasets`, or plain bytes or a path.

    Args:
        cell: the cell: `{"bytes", "path"}`, bytes or a path.
        allow_paths: open files that cells name. The author of a table could name any file of this machine.
        folder: folder that relative paths start from.

    Raises:
        MediaError: neither bytes nor a path; a path, and they are not allowed.
    """
    if isinstance(cell, Mapping) and cell.get("bytes") is not None:
        cell = cell["bytes"]
    elif isinstance(cell, Mapping) and cell.get("path"):
        cell = cell["path"]
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return io.BytesIO(cell)
    if isinstance(cell, (str, os.PathLike)):
        if not allow_paths:
            raise MediaError(
                f"the table holds no media here but the path {shown(cell)!r}. Files that tables name are read only on request: "
                "if you trust its author, use --allow-paths, or allow_paths=True."
            )
        return Path(folder, cell)
    raise MediaError(f"a cell of type {type(cell).__name__} holds neither bytes nor a path.")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        FileNotFoundError, MediaError: nothing there; a folder, FIFO, device or socket; a file that may not be read.
    """
    try:
        check_regular(os.stat(path).st_mode, path)
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"no such file: {shown(path)}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"cannot open {shown(path):.500}: {getattr(error, 'strerror', None) or error}.") from error


def check_regular(mode: int, path: str | os.PathLike[str]) -> None:
    """Raise MediaError where `mode`, of `os.stat`, is not that of a regular file."""
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise MediaError(f"{shown(path)} is {kinds.get(stat.S_IFMT(mode), 'a device')}; only regular files are read.")


def is_path(media: Any) -> bool:
    """True for a path: a string or an `os.PathLike`."""
    return isinstance(media, (str, os.PathLike))


def is_blob(media: Any) -> TypeGuard[Blob]:
    """Whether `media` has all that a `Blob` has. `isinstance` finds the same, a hundred times as slowly: it matters in bulk jobs."""
    return hasattr(media, "open") and hasattr(media, "name")


def is_encoded(media: Any) -> bool:
    """True for an encoded medium: a path, bytes, an open file, a blob."""
    return is_path(media) or isinstance(media, (bytes, bytearray, memoryview)) or hasattr(media, "read") or is_blob(media)


@dataclass(frozen=True)
class Medium:
    """An encoded medium that is open.

    Attributes:
        file: a seekable binary file, positioned at its start.
        name: its name in messages.
        on_disk: `file` was opened here from a path; its descriptor may be passed to a decoder.
        key: (path, size, time of change), equal for the same content of the same file; None: not known.
    """

    file: BinaryIO
    name: str
    on_disk: bool = False
    key: tuple[str, int, int] | None = None


@contextlib.contextmanager
def opened(source: Source, name: str = "") -> Iterator[Medium]:
    """Open an encoded medium. A file that is passed open is read from its beginning and stays open.

    Args:
        source: a path, bytes, a binary file, or a blob.
        name: name of the medium in messages; "": its path, or "the bytes".

    Raises:
        FileNotFoundError, MediaError: no such file; nothing that can be read as bytes; an empty file.
    """
    if is_blob(source) and not is_path(source) and not hasattr(source, "read"):
        name = name or shown(source.name)
        source = source.open()
    name = name or (shown(source) if isinstance(source, (str, os.PathLike)) else "")
    if isinstance(source, (str, os.PathLike)):
        with open_regular(source) as file:
            facts = os.fstat(file.fileno())
            check_regular(facts.st_mode, source)  # another file may have replaced the one that `open_regular` checked
            _check_not_empty(facts.st_size, name)
            yield Medium(file, name, on_disk=True, key=(os.path.abspath(source), facts.st_size, facts.st_mtime_ns))
        return
    if isinstance(source, (bytes, bytearray, memoryview)):
        file, name = cast(BinaryIO, io.BytesIO(source)), name or "the bytes"
    else:
        file, name = _seekable(source, name or "the open file")
    _check_not_empty(file.seek(0, io.SEEK_END), name)
    file.seek(0)
    yield Medium(file, name)


def _seekable(source: Any, name: str) -> tuple[BinaryIO, str]:
    """An open file and its name; the rest of a file that cannot seek (a pipe, a download) is read into memory."""
    if isinstance(source, io.TextIOBase):
        raise MediaError(f"{name} is open as text; open it with mode 'rb'.")
    if not hasattr(source, "read"):
        raise MediaError(f"{name}: got {type(source).__name__}; a path, bytes or an open binary file is allowed.")
    can_seek = source.seekable() if hasattr(source, "seekable") else hasattr(source, "seek")
    if can_seek:
        return source, name
    data = source.read()
    if not isinstance(data, bytes):
        raise MediaError(f"{name} gives {type(data).__name__} when it is read; open it with mode 'rb'.")
    return io.BytesIO(data), name


def _check_not_empty(size: int, name: str) -> None:
    if not size:
        raise MediaError(f"{name} is an empty file: 0 bytes.")
