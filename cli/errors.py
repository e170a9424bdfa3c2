"""Errors as people read them: one or two lines on the error stream, the traceback only if requested."""

import os
import sys
import traceback
from typing import TextIO

#: Package that an optional import misses -> how it is installed.
_EXTRAS = {
    "transformers": "transformers",
    "torchmetrics": "eval",
    "pesq": "eval",
    "pystoi": "eval",
    "scipy": "eval",
    "h5py": "eval",
    "av": "media",
    "datasets": "data",
    "webdataset": "data",
    "ray": "ray",
}


def debugging() -> bool:
    """True if tracebacks are requested: `--debug` anywhere in the command, or TOKENZOO_DEBUG=1."""
    return "--debug" in sys.argv[1:] or os.environ.get("TOKENZOO_DEBUG", "0") not in ("", "0")


def message(error: BaseException) -> str:
    """What went wrong, in one or two lines."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0]
        wanted = f"'tokenzoo[{_EXTRAS[package]}]'" if package in _EXTRAS else package
        return f"this needs the package {package}: pip install {wanted}"
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    if isinstance(error, (ValueError, KeyError, OSError)) and text:
        return text
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return f"out of memory. Take smaller media, or another --device. ({_first_line(text)})"
    return f"{type(error).__name__}: {_first_line(text)}"


def explain(error: BaseException) -> str:
    """`message`, and how to see more of an error that no one foresaw."""
    known = isinstance(error, (ValueError, KeyError, OSError, ModuleNotFoundError, MemoryError))
    return message(error) + ("" if known else "\n--debug shows where it happened.")


def show_warning(
    text: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """A warning in one line; those that are about other packages' code are for developers."""
    if debugging() or not issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning)):
        print(f"warning: {text}", file=file or sys.stderr)


def show_trace(error: BaseException) -> None:
    """Print the traceback if it is requested."""
    if debugging():
        traceback.print_exception(error, file=sys.stderr)


def _first_line(text: str) -> str:
    line = (text.splitlines() or [""])[0]
    return line if len(line) <= 300 else line[:300] + " ..."
