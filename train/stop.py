"""Ending a run early without losing anything."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class StopRequest:
    """True once a stop was requested (SIGINT or SIGTERM); a second request ends it at once."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Take over the two signals for the time of the context; outside the main thread, do nothing."""

        def handle(number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        try:
            before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # only the main thread may set handlers
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
