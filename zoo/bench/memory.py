"""Memory of this process: its resident set and the peak of it while something runs, in bytes."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
#: A peak no further above the resident set than this was started anew just now.
_RESET_WITHIN = 4 << 20
_SAMPLE_SECONDS = 0.002


def resident() -> int:
    """Size of the resident set in bytes; 0 where the system does not tell."""
    return _field("VmRSS")


def peak() -> int:
    """Peak of the resident set of the whole process in bytes; 0 where the system does not tell."""
    found = _field("VmHWM")
    if found or sys.platform == "win32":
        return found
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class Peak:
    """The peak of the resident set since this was made, in `bytes`; 0 where the system does not tell.

    Linux is asked to count its peak anew. Where it does not (some sandboxes take the request and do nothing), a thread looks at the
    resident set every 2 ms, and what is held for a shorter time can be missed.
    """

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            _RESET.write_text("5")
        self._start, self._sampled, self._final = peak(), resident(), 0
        self.counted_anew = self._sampled > 0 and self._start - self._sampled <= _RESET_WITHIN

    @property
    def bytes(self) -> int:
        """The peak so far; the process' own peak counts where it was counted anew or has risen since."""
        if self._final:
            return self._final
        now = peak()
        if self.counted_anew or now > self._start:
            return now
        self.sample()
        return self._sampled

    def end(self) -> None:
        """From here on, `bytes` stays."""
        self._final = self.bytes

    def sample(self) -> None:
        """Look at the resident set once."""
        self._sampled = max(self._sampled, resident())


@contextlib.contextmanager
def watched() -> Iterator[Peak]:
    """The peak of what runs inside."""
    found, ended = Peak(), threading.Event()
    thread = None if found.counted_anew or not resident() else threading.Thread(target=_sample, args=(found, ended), daemon=True)
    if thread is not None:
        thread.start()
    try:
        yield found
    finally:
        ended.set()
        if thread is not None:
            thread.join()
        found.end()


def _sample(found: Peak, ended: threading.Event) -> None:
    while not ended.is_set():
        found.sample()
        time.sleep(_SAMPLE_SECONDS)


def _field(name: str) -> int:
    try:
        line = next(x for x in _STATUS.read_text().splitlines() if x.startswith(name))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024
