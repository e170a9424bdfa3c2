"""One process at a time in a folder that results are written to.

    with only_one(folder, ".lock"):          # InUse if another process, or another run of this one, holds it
        ...

The system lets go of the lock when a process ends, however it does, so a killed one blocks nothing.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_guard = threading.Lock()
#: Locks that a process holds -> its number: the system's locks are between processes only. A process forked off holds none.
_held: dict[str, int] = {}


class InUse(ValueError):
    """Another process, or another run in this one, works on the folder."""


@contextlib.contextmanager
def only_one(folder: str | os.PathLike[str], name: str) -> Iterator[None]:
    """Hold `folder` until the block ends; outside POSIX systems only against this process itself.

    Args:
        folder: made if missing.
        name: of the lock file in `folder`, by which those that exclude each other agree. It goes when the block ends, and a folder
            of its own with it if nothing else is left in there.

    Raises:
        InUse: it is held.
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
                path.unlink(missing_ok=True)  # before the lock goes: whoever waits for this file notices, see `_lock`
                if path.parent != folder:
                    with contextlib.suppress(OSError):  # not empty, or gone with what it held
                        path.parent.rmdir()
            finally:
                _held.pop(key, None)
                os.close(handle)


def _lock(path: Path) -> int | None:
    """Open and lock the file; None: another process has it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if os.name == "posix":
                import fcntl

                # of the process, not of the open file: workers that are forked off and outlive it must not keep it
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except (BlockingIOError, PermissionError):  # systems differ in the error for a lock that is held
            os.close(handle)
            return None
        except FileNotFoundError:  # who had it has just deleted it
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
