"""Atomic writes of files and folders: written under a temporary name beside their place, flushed to the disk, then renamed.

    with replacing(path) as file:            # a binary file; `path` changes only when the block ends without an error
        file.write(data)
    write_bytes(path, data); write_text(path, text)
    with replacing_folder(folder) as side:   # the same for a folder with all that is written into it
        ...

After any error on the way (in the block, a full disk, Ctrl-C) the temporary file is removed, and `path` keeps its old content.
Only a process that is killed leaves one behind, under a hidden name that ends in `PARTIAL`; `remove_partial` deletes those.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["PARTIAL", "partial_beside", "remove_partial", "replacing", "replacing_folder", "sync", "write_bytes", "write_text"]

#: Ending of files and folders that are being written; those that a crash leaves behind are ignored.
PARTIAL = ".partial"
#: Numbers in the temporary names, so that two threads of one process which write the same file use different ones.
_numbers = itertools.count()


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new binary file that replaces `path` when the block ends without an error; it is flushed to the disk before.

    Args:
        path: in a folder that exists. If it is a symbolic link, the link is replaced; the file that it points to stays as it is.

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
    """Replace the content of `path` by `data`, or leave `path` as it is; raises what `replacing` raises."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace the content of `path` by `text` in UTF-8, or leave `path` as it is; raises what `replacing` raises."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def replacing_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A new, empty folder to fill, which takes the place of `folder` when the block ends without an error.

    A folder cannot be replaced in one step: the old one is renamed, then the new one, and the old one is deleted last. A process
    that is killed between the two leaves the old folder under its hidden name.

    Args:
        folder: its parent folder is made if missing.

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
    """Rename `part` to `folder`; an old `folder` is renamed first and deleted last."""
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
    # the name is cut short: file systems allow 255 bytes in all
    return path.with_name(f".{path.name[:48]}.{os.getpid()}-{next(_numbers)}{PARTIAL}")


def remove_partial(folder: Path) -> None:
    """Delete the half-written files and folders that killed processes left in `folder`."""
    for path in folder.glob(f".*{PARTIAL}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to the disk (fsync)."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and files are flushed where they are written
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
