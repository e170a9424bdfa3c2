"""Error messages of the command: one or two lines on stderr, the traceback only if requested."""

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

import typer

#: Optional package -> the extra of tokenzoo that installs it.
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
    "onnxscript": "export",
    "onnxruntime": "export",
    "gradio": "demo",
    "constriction": "entropy",
}


def debugging() -> bool:
    """True if tracebacks are requested: `--debug` anywhere in the command, or TOKENZOO_DEBUG=1."""
    return "--debug" in sys.argv[1:] or os.environ.get("TOKENZOO_DEBUG", "0") not in ("", "0")


def message(error: BaseException) -> str:
    """Text of an error for the user, in one or two lines."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0]
        wanted = f"'tokenzoo[{_EXTRAS[package]}]'" if package in _EXTRAS else package
        return f"this needs the package {package}: pip install {wanted}"
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    if isinstance(error, OSError) and error.strerror and text.startswith("[Errno"):
        return error.strerror + (f": {error.filename}" if error.filename is not None else "")
    if isinstance(error, (ValueError, KeyError, OSError)) and text:
        return text
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return f"out of memory. Take smaller media, or another --device. ({_first_line(text)})"
    return f"{type(error).__name__}: {_first_line(text)}"


def explain(error: BaseException) -> str:
    """`message`; for unexpected kinds of errors also how to see the traceback."""
    known = isinstance(error, (ValueError, KeyError, OSError, ModuleNotFoundError, MemoryError))
    return message(error) + ("" if known else "\n--debug shows where it happened.")


def ended(verb: Callable[..., None], *, only_prints: bool = False) -> Callable[..., None]:
    """Wrap a subcommand, so that it prints a line where typer would end silently: at Ctrl-C (exit code 130, as in shells), a closed
    output pipe, a file that ends too early.

    One that `only_prints` has done its work where a reader such as `head` has read enough: it ends without a word.
    """

    @functools.wraps(verb)
    def run(*args: Any, **options: Any) -> None:
        try:
            verb(*args, **options)
            sys.stdout.flush()  # a closed pipe raises here, where it is handled
        except KeyboardInterrupt as error:
            show_trace(error)
            print("stopped by Ctrl-C.", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError as error:
            show_trace(error)
            _leave_output()
            if only_prints:
                raise typer.Exit(0) from None
            print("error: the reader of the output has gone (broken pipe); what follows was not done.", file=sys.stderr)
            raise typer.Exit(1) from None
        except EOFError as error:
            raise ValueError(f"a file or stream ended too early ({_first_line(str(error)) or 'EOFError'}).") from error

    return run


def _leave_output() -> None:
    """Redirect standard output to the null device, so that Python's flush at exit does not fail on the closed pipe."""
    with contextlib.suppress(OSError, ValueError):  # standard output without a file descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def show_warning(
    text: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """Print a warning in one line; deprecations, which concern developers, only with `--debug`."""
    if debugging() or not issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning)):
        print(f"warning: {text}", file=file or sys.stderr)


def show_trace(error: BaseException) -> None:
    """Print the traceback if it is requested."""
    if debugging():
        traceback.print_exception(error, file=sys.stderr)


def _first_line(text: str) -> str:
    line = (text.splitlines() or [""])[0]
    return line if len(line) <= 300 else line[:300] + " ..."
