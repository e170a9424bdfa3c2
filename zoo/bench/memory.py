"""Memory of this process: its resident set and the peak of it, in bytes."""

import contextlib
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident() -> int:
    """Size of the resident set in bytes; 0 where the system does not tell."""
    return _field("VmRSS")


def reset_peak() -> int:
    """Start the peak of the resident set anew, and return it in bytes."""
    with contextlib.suppress(OSError):  # outside of Linux the peak so far stays, and small differences are lost
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Peak of the resident set in bytes; 0 where the system does not tell."""
    found = _field("VmHWM")
    if found or sys.platform == "win32":
        return found
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _field(name: str) -> int:
    try:
        line = next(x for x in _STATUS.read_text().splitlines() if x.startswith(name))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024
