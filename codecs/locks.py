"""A lock of a folder: only one process at a time writes results to it.

    with only_one(folder, ".lock"):          # InUse if another process, or another run of this one, holds it
        ...

The system releases the lock when a process ends, also when it is killed.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_guard = threading.Lock()
#: Path of each lock held in this process -> process id: the system's locks work between processes only, and a forked child holds none.
_held: dict[str, int] = {}


class InUse(ValueError):
    """Another process, or another run in this one, works on the folder."""


@contextlib.contextmanager
def only_one(folder: str | os.PathLike[str], name: str) -> Iterator[None]:
    """Lock `folder` until the block ends; on other systems than POSIX this excludes only other callers in this process.

    Args:
        folder: made if missing.
        name: path of the lock file below `folder`; callers with the same name exclude each other. The file is deleted when the
            block ends, and so is the subfolder that it is in, if there is one and nothing else is left in it.

    Raises:
        InUse: the folder is locked already.
    """
    folder = Path(folder)
    path = folder / name
    busy = InUse(f"another process works on {folder}; wait for it, or stop it first.")
    key = os.path.realpath(path)
    with _guard:
        if _held.get(key) == os.getpid():
            raise busy
        handle = _lock(path)
        if handle is None:
            raise busy
        _held[key] = os.getpid()
    try:
        yield
    finally:
        with _guard:
            try:
                path.unlink(missing_ok=True)  # before the lock is released: a process that opened it notices, see `_lock`
                if path.parent != folder:
                    with contextlib.suppress(OSError):  # not empty, or deleted already
                        path.parent.rmdir()
            finally:
                _held.pop(key, None)
                os.close(handle)


def _lock(path: Path) -> int | None:
    """Open and lock the file; returns its handle, or None if another process holds the lock."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if os.name == "posix":
                import fcntl

                # `lockf` locks belong to the process, not to the open file: forked workers that outlive it do not keep the lock
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except (BlockingIOError, PermissionError):  # systems differ in the error for a lock that is held
            os.close(handle)
            return None
        except FileNotFoundError:  # the process that held it has just deleted it
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
