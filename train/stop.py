"""Stops a run early at a signal, after the current step, so that nothing is lost."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class StopRequest:
    """True once a stop was requested by SIGINT or SIGTERM; a second request raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.requested = False

    def __bool__(self) -> bool:
        return self.requested

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Context manager: handle the two signals; outside the main thread, do nothing."""

        def handle(number: int, frame: Any) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.requested = True

        try:
            before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # only the main thread may set handlers
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
