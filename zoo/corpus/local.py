"""Local engine: distributes units to worker processes of this machine, restarts workers that die, isolates items that crash them.

A worker that dies (out of memory, a crash in a decoder) loses only its unfinished units, which are retried. The unit that it
was encoding is retried in careful mode, item by item; an item during which two more workers die becomes a failure.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...codecs.threads import on_all_cores
from .ledger import Ledger
from .pipeline import UnitDone, UnitOrder

#: Units queued in a worker at a time: it prefetches the media of the next unit while it encodes the current one.
QUEUED_UNITS = 2
#: Retries of one unit whose workers died while reading no item; one more death ends the job.
MAX_RETRIES = 8
#: Worker deaths while reading one item in careful mode after which it is a failure; a single one may have another cause.
ITEM_DEATHS = 2


class WorkerError(RuntimeError):
    """Worker processes die repeatedly, or cannot start."""


@dataclass
class _Worker:
    """A worker process: its queue of orders, and the item that it is reading (careful units only)."""

    process: subprocess.Popen[str]
    device: str | None
    queued: list[UnitOrder] = field(default_factory=list)
    at: int | None = None
    ready: bool = False


class LocalEngine:
    """Runs units of a ledger on several worker processes.

    Args:
        ledger: the job, with its units planned.
        workers: number of worker processes.
        readers: reader threads in each worker.
        devices: assigned to the workers in turn; None: the device of the options.
    """

    def __init__(self, ledger: Ledger, workers: int, readers: int, devices: Sequence[str | None] = (None,)) -> None:
        self.ledger, self.readers = ledger, readers
        self.devices = [devices[i % len(devices)] for i in range(workers)]
        self.answers: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self.workers: list[_Worker] = []
        self.deaths: dict[int, int] = {}  # worker deaths by unit
        self.suspects: dict[int, int] = {}  # worker deaths by item
        self.killed_early = 0  # workers killed by a signal before they were ready

    def run(self, units: Sequence[int]) -> Iterator[UnitDone]:
        """Encode units; yields each when it is on disk.

        Raises:
            WorkerError: workers die repeatedly, and no single item is the cause; or they cannot start.
            OSError: a worker could not write: the disk is full, or the like.
        """
        waiting = [UnitOrder(u) for u in units]
        left = len(waiting)
        try:
            for device in self.devices[: max(1, left)]:
                self._start(device)
            while left:
                for worker in self.workers:
                    self._dispatch(worker, waiting)
                worker, answer = self.answers.get()
                if answer is None:
                    waiting[:0] = self._reap(worker)
                    self._start(worker.device)
                elif "at" in answer:
                    worker.at = answer["at"] if answer["at"] >= 0 else None
                elif "ready" in answer:
                    worker.ready = True
                elif "fault" in answer:  # of the disk: others would fail as well
                    raise OSError(*answer["fault"])
                else:
                    worker.queued = [o for o in worker.queued if o.unit != answer["unit"]]
                    worker.at = None
                    left -= 1
                    yield UnitDone(**answer)
        finally:
            self._stop()

    def _start(self, device: str | None) -> None:
        command = [sys.executable, "-m", f"{__package__}.worker", str(self.ledger.out), "--readers", str(self.readers)]
        command += ["--device", device] if device else []
        command += ["--parent", str(os.getpid())] if os.name == "posix" else []  # elsewhere a launcher may stand between
        own = os.environ | {"OMP_PROC_BIND": "false"}  # else each worker would be bound to the first core

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own)

        process = on_all_cores(start)
        worker = _Worker(process, device)
        self.workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self.answers.put((worker, json.loads(line)))
        self.answers.put((worker, None))

    def _dispatch(self, worker: _Worker, waiting: list[UnitOrder]) -> None:
        """Fill the worker's queue with orders from `waiting`; a careful unit is queued alone."""
        while waiting and len(worker.queued) < QUEUED_UNITS and not any(o.careful for o in worker.queued):
            if waiting[0].careful and worker.queued:
                return
            order = waiting.pop(0)
            worker.queued.append(order)
            text = json.dumps({"unit": order.unit, "careful": order.careful, "skip": order.skip})
            orders = worker.process.stdin
            assert orders is not None
            try:
                orders.write(text + "\n")
                orders.flush()
            except BrokenPipeError:
                return  # the worker is dead; `_listen` reports it

    def _reap(self, worker: _Worker) -> list[UnitOrder]:
        """Remove a dead worker; return its orders to retry, the first one (which it was encoding) in careful mode."""
        self.workers.remove(worker)
        code = worker.process.wait()
        if not worker.ready:  # no unit is the cause; retry after a signal (it may come from outside), not after an exit code
            self.killed_early += 1
            if code >= 0 or self.killed_early > MAX_RETRIES:
                raise WorkerError(f"a worker process ended with code {code} before it could begin; its error message is above.")
            return worker.queued
        if not worker.queued:
            return []
        order, rest = worker.queued[0], worker.queued[1:]
        if (self.ledger.unit_path(order.unit)).is_file():  # it died after writing the file, before its answer
            return worker.queued
        skip = order.skip
        if worker.at is not None and worker.at not in dict(skip):
            self.suspects[worker.at] = self.suspects.get(worker.at, 0) + 1
            if self.suspects[worker.at] >= ITEM_DEATHS:
                how = f"signal {-code}" if code < 0 else f"code {code}"
                skip = (*skip, (worker.at, f"WorkerDied: the process that read it was ended by {how}"))
        else:
            self.deaths[order.unit] = self.deaths.get(order.unit, 0) + 1
        if self.deaths.get(order.unit, 0) > MAX_RETRIES:
            start, stop = self.ledger.units[order.unit]
            raise WorkerError(f"{MAX_RETRIES} processes died on items {start} to {stop - 1}, the last with code {code}.")
        return [UnitOrder(order.unit, True, skip), *rest]

    def _stop(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
