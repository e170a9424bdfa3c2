"""Files and folders that are there whole or not at all: written beside their place, flushed to the disk, then renamed.

    with replacing(path) as file:            # a binary file; `path` changes only when the block ends without an error
        file.write(data)
    write_bytes(path, data); write_text(path, text)
    with replacing_folder(folder) as side:   # the same for a folder with all that is written into it
        ...

What goes wrong on the way (an error in the block, a full disk, Ctrl-C) removes the file beside, and `path` keeps what it held.
Only a process that is killed leaves one behind, under a hidden name that ends in `PARTIAL`; `remove_partial` clears those away.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["PARTIAL", "partial_beside", "remove_partial", "replacing", "replacing_folder", "sync", "write_bytes", "write_text"]

#: Ending of files and folders that are being written; what is left of them after a crash counts for nothing.
PARTIAL = ".partial"
#: Two threads of one process that write the same file get names of their own.
_numbers = itertools.count()


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A new file to write to, which takes the place of `path` when the block ends, and is on the disk then.

    Args:
        path: in a folder that exists. A link is itself replaced: the file that it leads to stays as it is.

    Raises:
        FileNotFoundError: the folder does not exist.
        FileExistsError: `path` is a folder, a device or a pipe.
        OSError: the disk is full or cannot be written; nothing is left behind.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: the folder {path.parent} does not exist.")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is no file that could be replaced; name another.")
    part = partial_beside(path)
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` as the whole of `path`, or leave `path` as it is; raises what `replacing` raises."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` in UTF-8 as the whole of `path`, or leave `path` as it is; raises what `replacing` raises."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def replacing_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A new, empty folder to fill, which takes the place of `folder` when the block ends without an error.

    A folder cannot be replaced in one step: the old one is renamed, then the new one, and the old one is deleted last. A process
    that is killed between the two leaves the old folder under its hidden name.

    Args:
        folder: the folder that holds it is made if missing.

    Raises:
        FileExistsError: `folder` is a file.
        OSError: the disk is full or cannot be written; `folder` is as it was.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = partial_beside(folder)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        for path in part.rglob("*"):
            if path.is_file() and not path.is_symlink():
                sync(path)
        _swap(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync(folder.parent)


def _swap(part: Path, folder: Path) -> None:
    """Put `part` where `folder` is or will be."""
    if not folder.exists():
        os.rename(part, folder)
        return
    old = partial_beside(folder)
    os.rename(folder, old)
    try:
        os.rename(part, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def partial_beside(path: Path) -> Path:
    """A name in the folder of `path` that nothing else uses: hidden, and ending in `PARTIAL`."""
    # the name is cut: with the rest it must stay below the 255 bytes that file systems allow
    return path.with_name(f".{path.name[:48]}.{os.getpid()}-{next(_numbers)}{PARTIAL}")


def remove_partial(folder: Path) -> None:
    """Delete what processes that were killed left half written in `folder`."""
    for path in folder.glob(f".*{PARTIAL}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk (fsync)."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and files are flushed where they are written
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
