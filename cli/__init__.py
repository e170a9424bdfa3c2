"""The command `tokenzoo`. Each command imports what it needs when it runs, so that `--help` and `list` are fast."""

import io
import logging
import sys
import warnings
from collections.abc import Sequence

from .app import app
from .errors import debugging, explain, show_warning

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: those after `tokenzoo`; None: `sys.argv[1:]`.

    Raises:
        SystemExit: always, with code 0, or 1 after an error, 2 after a usage error, 130 after Ctrl-C.
    """
    words = [w for w in (sys.argv[1:] if arguments is None else arguments) if w != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # arrows and file names that the terminal's encoding lacks
    if debugging():  # show the traceback of each failed item, which jobs log
        logging.basicConfig()
        logging.getLogger(__name__.partition(".")[0]).setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            app(args=words, prog_name="tokenzoo")
    except Exception as error:
        if debugging():
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        raise SystemExit(1) from None
