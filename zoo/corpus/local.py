"""Units over processes of this machine: hand them out, start dead processes again, find items that kill them.

A process that dies (out of memory, a crash in a decoder) loses nothing but its unfinished units. The unit it was at is
done once more in careful mode, item by item; an item during which two more processes die becomes a failure.
"""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .ledger import Ledger
from .pipeline import Order, UnitDone

#: Units that a process has at a time: it reads the next one's media while it encodes.
AHEAD = 2
#: Deaths of one unit outside of any item's reading that end the job.
PATIENCE = 8
#: Deaths during the reading of one item, in careful mode, that make it a failure: one could be anybody's doing.
PROOF = 2


class WorkerError(RuntimeError):
    """Processes die over and over, or cannot start."""


@dataclass
class _Worker:
    """One process: its orders in hand, and the item it is at (careful units only)."""

    process: subprocess.Popen[str]
    device: str | None
    hand: list[Order] = field(default_factory=list)
    at: int | None = None
    ready: bool = False


class LocalEngine:
    """Runs units of a ledger on several processes.

    Args:
        ledger: the job, planned.
        workers: how many processes.
        readers: threads that read and decode in each.
        devices: one is given to each process in turn; None: that of the options.
    """

    def __init__(self, ledger: Ledger, workers: int, readers: int, devices: Sequence[str | None] = (None,)) -> None:
        self.ledger, self.readers = ledger, readers
        self.devices = [devices[i % len(devices)] for i in range(workers)]
        self.answers: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self.workers: list[_Worker] = []
        self.deaths: dict[int, int] = {}  # by unit
        self.suspects: dict[int, int] = {}  # deaths by item
        self.killed_early = 0  # processes that a signal ended before they had begun

    def run(self, units: Sequence[int]) -> Iterator[UnitDone]:
        """Encode units; yields each when it is on disk.

        Raises:
            WorkerError: processes die without an item being at fault.
        """
        waiting = [Order(u) for u in units]
        left = len(waiting)
        try:
            for device in self.devices[: max(1, left)]:
                self._start(device)
            while left:
                for worker in self.workers:
                    self._hand_out(worker, waiting)
                worker, answer = self.answers.get()
                if answer is None:
                    waiting[:0] = self._bury(worker)
                    self._start(worker.device)
                elif "at" in answer:
                    worker.at = answer["at"] if answer["at"] >= 0 else None
                elif "ready" in answer:
                    worker.ready = True
                else:
                    worker.hand = [o for o in worker.hand if o.unit != answer["unit"]]
                    worker.at = None
                    left -= 1
                    yield UnitDone(**answer)
        finally:
            self._stop()

    def _start(self, device: str | None) -> None:
        command = [sys.executable, "-m", f"{__package__}.worker", str(self.ledger.out), "--readers", str(self.readers)]
        command += ["--device", device] if device else []
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        worker = _Worker(process, device)
        self.workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self.answers.put((worker, json.loads(line)))
        self.answers.put((worker, None))

    def _hand_out(self, worker: _Worker, waiting: list[Order]) -> None:
        """Fill the worker's hand; a careful unit is alone in it."""
        while waiting and len(worker.hand) < AHEAD and not any(o.careful for o in worker.hand):
            if waiting[0].careful and worker.hand:
                return
            order = waiting.pop(0)
            worker.hand.append(order)
            text = json.dumps({"unit": order.unit, "careful": order.careful, "skip": order.skip})
            try:
                worker.process.stdin.write(text + "\n")  # type: ignore[union-attr]
                worker.process.stdin.flush()  # type: ignore[union-attr]
            except BrokenPipeError:
                return  # it is dead, and its last answer will say so

    def _bury(self, worker: _Worker) -> list[Order]:
        """Take a dead process off the list; returns its units, the one that it was at to be done with care."""
        self.workers.remove(worker)
        code = worker.process.wait()
        if not worker.ready:  # no unit is at fault; a signal may come from outside, an exit code is the process's own
            self.killed_early += 1
            if code >= 0 or self.killed_early > PATIENCE:
                raise WorkerError(f"a worker process ended with code {code} before it could begin; its message stands above.")
            return worker.hand
        if not worker.hand:
            return []
        order, rest = worker.hand[0], worker.hand[1:]
        if (self.ledger.unit_path(order.unit)).is_file():  # it died between the file and the answer
            return worker.hand
        skip = order.skip
        if worker.at is not None and worker.at not in dict(skip):
            self.suspects[worker.at] = self.suspects.get(worker.at, 0) + 1
            if self.suspects[worker.at] >= PROOF:
                how = f"signal {-code}" if code < 0 else f"code {code}"
                skip = (*skip, (worker.at, f"WorkerDied: the process that read it was ended by {how}"))
        else:
            self.deaths[order.unit] = self.deaths.get(order.unit, 0) + 1
        if self.deaths.get(order.unit, 0) > PATIENCE:
            start, stop = self.ledger.units[order.unit]
            raise WorkerError(f"{PATIENCE} processes died on items {start} to {stop - 1}, the last with code {code}.")
        return [Order(order.unit, True, skip), *rest]

    def _stop(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()  # type: ignore[union-attr]
