"""Progress of a job, written to stderr and only if that is a terminal; stdout stays clean for programs."""

import contextlib
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any


class Bar:
    """A bar with a count and the time that is left; nothing where there is no terminal.

    Args:
        total: steps of the job.
        what: a word or two before the bar.
        show: False shows nothing.
    """

    def __init__(self, total: int, what: str, *, show: bool = True) -> None:
        self.total, self.what = total, what
        self.show = show and total > 1 and sys.stderr.isatty()
        self.bar: Any = None

    def __enter__(self) -> "Bar":
        if self.show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            # lines printed meanwhile go above the bar, but never into a file or pipe that stdout may be
            above = sys.stdout.isatty()
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=above)
            self.bar.start()
            self.task = self.bar.add_task(self.what, total=self.total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def step(self, what: str = "") -> None:
        """One step is done; `what` is shown in place of the word before the bar."""
        if self.bar:
            self.bar.update(self.task, advance=1, description=what or self.what)


@contextlib.contextmanager
def waiting(what: str, *, show: bool = True) -> Iterator[None]:
    """Show `what` in one line while something without a count is done, and take it away afterwards."""
    show = show and sys.stderr.isatty()
    if show:
        print(f"{what} ...", end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if show:
            print("\x1b[2K", end="\r", file=sys.stderr, flush=True)
