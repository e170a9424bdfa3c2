"""How far a job is: a bar with items/s, tokens/s and time left on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any

#: Seconds between lines where there is no terminal.
EVERY = 30.0


class Progress:
    """Counts items and tokens, and shows them on the error stream.

    Args:
        total: items of the job.
        done: items that earlier runs did.
        show: False counts only.
    """

    def __init__(self, total: int, done: int, *, show: bool) -> None:
        self.total, self.before, self.show = total, done, show
        self.items, self.tokens, self.failed = 0, 0, 0
        self.start = self.last = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        if self.show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self.bar = Bar(*columns, console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total, completed=self.before)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()
        elif self.show and self.items:
            print(self.line(), file=sys.stderr, flush=True)

    def add(self, items: int, tokens: int, failed: int) -> None:
        """Count a unit: `items` encoded and `failed` others."""
        self.items, self.tokens, self.failed = self.items + items + failed, self.tokens + tokens, self.failed + failed
        if self.bar:
            self.bar.update(self.task, completed=self.before + self.items, description=self.rates())
        elif self.show and time.monotonic() - self.last > EVERY:
            self.last = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def rates(self) -> str:
        """Rates of the job so far: items and tokens a second."""
        seconds = max(1e-9, time.monotonic() - self.start)
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.items / seconds:.1f} items/s, {self.tokens / seconds:,.0f} tokens/s{failed}"

    def line(self) -> str:
        """The progress as one line of text."""
        done = self.before + self.items
        seconds = time.monotonic() - self.start
        left = (self.total - done) * seconds / max(1, self.items)
        return f"{done} of {self.total} items, {self.rates()}, {time.strftime('%H:%M:%S', time.gmtime(left))} left"
