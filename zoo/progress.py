"""Progress of a job, on stderr and only if that is a terminal; nothing is written to stdout."""

import contextlib
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any


class Bar:
    """Progress bar with a count and the remaining time; shows nothing without a terminal.

    Args:
        total: number of steps of the job.
        what: a word or two before the bar.
        show: False hides the bar.
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
        """Advance the bar by one step; `what`, if given, replaces the word before the bar."""
        if self.bar:
            self.bar.update(self.task, advance=1, description=what or self.what)


@contextlib.contextmanager
def waiting(what: str, *, show: bool = True) -> Iterator[None]:
    """Context manager: show the line `what` while the block runs, and remove it afterwards; for work without a count."""
    show = show and sys.stderr.isatty()
    if show:
        print(f"{what} ...", end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if show:
            print("\x1b[2K", end="\r", file=sys.stderr, flush=True)
