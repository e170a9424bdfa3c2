"""Units of work through readers and network: while the network runs on one batch, threads read and decode the next ones.

    unit numbers -> feeder thread -> reader threads -> batches, network (this thread) -> writer thread -> unit file

The order of items never changes on the way, so that batches are the same in every run. Small items go to a reader by the
handful, as threads that change hands often slow down the one that runs the network. Readers run ahead by a few batches, or
by a few handfuls where those are larger.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from ...codecs.media import Prepared
from ...codecs.tokenizer import Tokenizer
from .batches import Batches, Waiting, encode
from .intake import Failure, Intake, Item
from .ledger import Failed, Ledger
from .options import Options
from .records import Record, to_table

#: A handful: so many items, of so many bytes together.
HANDFUL_ITEMS, HANDFUL_BYTES = 16, 512 * 1024


@dataclass(frozen=True)
class UnitDone:
    """What one unit came to: items and ids that went in, and failures."""

    unit: int
    items: int
    tokens: int
    failed: int


@dataclass(frozen=True)
class Order:
    """One unit to do; `skip` are items that killed a process before, with the reason; `careful` goes one item at a time."""

    unit: int
    careful: bool = False
    skip: tuple[tuple[int, str], ...] = ()


_Handful = list[tuple[Item, Prepared | Failure]]
# A stream carries: futures of handfuls; an `Order`, which closes its unit; a `UnitDone`, when it is on disk; errors, to be
# raised; None, the end of the items.
_Stream = queue.Queue


class Pipeline:
    """Encodes units of a ledger.

    Args:
        ledger: the job.
        tokenizer: in eval mode, on its device.
        readers: threads that read and decode.
        at: called with the index of each item before it is decoded and with -1 after it, in careful units only.
    """

    def __init__(self, ledger: Ledger, tokenizer: Tokenizer, readers: int, at: Callable[[int], None] = lambda i: None) -> None:
        self.ledger, self.tokenizer, self.readers, self.at = ledger, tokenizer, max(1, readers), at
        self.options, self.layout = ledger.options, ledger.layout
        self.intake = Intake(ledger.listing, tokenizer, self.options)

    def run(self, orders: Iterable[Order]) -> Iterator[UnitDone]:
        """Encode units, in the order in which they come; each is on disk when it is yielded."""
        stream: _Stream[Any] = queue.Queue()
        room = _Room(4 * self.options.batch_elements, 2 * self.readers)
        threads = self.options.threads  # new threads would take torch's default number each, whatever this one was told
        with (
            ThreadPoolExecutor(self.readers, initializer=torch.set_num_threads, initargs=(threads,)) as pool,
            ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as writer,
        ):
            feeder = threading.Thread(target=self._feed, args=(orders, stream, room, pool), daemon=True)
            feeder.start()
            try:
                yield from self._consume(stream, room, writer)
            finally:
                room.close()

    def _feed(self, orders: Iterable[Order], stream: _Stream[Any], room: "_Room", pool: ThreadPoolExecutor) -> None:
        """Put each unit's items on the stream, then the unit itself to close it; None at the end."""
        try:
            for order in orders:
                start, stop = self.ledger.units[order.unit]
                for first, last in self._handfuls(start, stop, 1 if order.careful else HANDFUL_ITEMS):
                    if not room.enter():
                        return
                    if order.careful:
                        self.at(first)
                    future = pool.submit(self._read, first, last, dict(order.skip))
                    future.add_done_callback(room.decoded)
                    if order.careful:
                        future.exception()  # waits
                        self.at(-1)
                    stream.put(future)
                stream.put(order)
            stream.put(None)
        except BaseException as error:  # the consumer raises it
            stream.put(error)

    def _handfuls(self, start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
        """Cut a unit into `(first, last + 1)` of what one reader takes at a time."""
        first, total = start, 0
        for i, size in enumerate(self.ledger.listing.items["size"].slice(start, stop - start).to_pylist(), start):
            if i > first and (i - first >= most or total + size > HANDFUL_BYTES):
                yield first, i
                first, total = i, 0
            total += max(0, size)
        yield first, stop

    def _read(self, first: int, last: int, skip: dict[int, str]) -> _Handful:
        """Open and decode items, those in `skip` aside."""
        out: _Handful = []
        for item in self.intake.items(first, last):
            why = skip.get(item.index)
            out.append((item, self.intake.decode(item) if why is None else Failure(why)))
        return out

    def _consume(self, stream: _Stream[Any], room: "_Room", writer: ThreadPoolExecutor) -> Iterator[UnitDone]:
        unit = _Unit(self.tokenizer, self.options)
        writing, over = 0, False
        while writing or not over:
            entry = stream.get()
            if isinstance(entry, BaseException):
                raise entry
            if entry is None:
                over = True
            elif isinstance(entry, UnitDone):
                writing -= 1
                yield entry
            elif isinstance(entry, Order):
                unit.close()
                writer.submit(self._save, entry.unit, unit.records, unit.failures, stream)
                unit, writing = _Unit(self.tokenizer, self.options), writing + 1
            else:
                handful: _Handful = entry.result()
                room.taken(handful)
                for item, result in handful:
                    unit.add(item, result)

    def _save(self, unit: int, records: list[Record], failures: list[Failed], stream: _Stream[Any]) -> None:
        """Write the unit's file, rows in the order of the list, and say so on the stream."""
        try:
            records = sorted(records, key=lambda r: r.index)
            failures = sorted(failures, key=lambda f: f.index)
            table = to_table(records, self.layout, self.ledger.listing.metadata)
            self.ledger.save_unit(unit, table, [r.index for r in records], failures)
            tokens = sum(sum(self.layout.counts(r.tokens.ids.shape[2])) for r in records)
            stream.put(UnitDone(unit, len(records), tokens, len(failures)))
        except BaseException as error:  # the consumer raises it
            stream.put(error)


class _Unit:
    """Items of one unit on their way through batches and network."""

    def __init__(self, tokenizer: Tokenizer, options: Options) -> None:
        self.tokenizer, self.codebooks = tokenizer, options.codebooks
        self.batches = Batches(tokenizer, options.batch_elements)
        self.records: list[Record] = []
        self.failures: list[Failed] = []

    def add(self, item: Item, result: Prepared | Failure) -> None:
        """Take one item in; batches that are full go through the network."""
        if isinstance(result, Failure):
            self.failures.append(Failed(item.index, item.key, result.reason))
            return
        for batch in self.batches.add(item, result):
            self._run(batch)

    def close(self) -> None:
        """Encode what is left."""
        for batch in self.batches.rest():
            self._run(batch)

    def _run(self, batch: Waiting) -> None:
        for result in encode(self.tokenizer, batch, self.codebooks):
            if isinstance(result, Record):
                self.records.append(result)
            else:
                item, failure = result
                self.failures.append(Failed(item.index, item.key, failure.reason))


class _Room:
    """How far readers may run ahead: so many elements decoded and not yet taken, and so many handfuls begun beyond those."""

    def __init__(self, elements: int, handfuls: int) -> None:
        self.elements, self.handfuls = elements, handfuls
        self.held, self.begun, self.closed = 0, 0, False
        self.changed = threading.Condition()

    def enter(self) -> bool:
        """Wait until one more handful may be begun; False where the work was broken off."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or (self.held < self.elements and self.begun < self.handfuls))
            self.begun += 1
            return not self.closed

    def decoded(self, future: "Future[_Handful]") -> None:
        """A handful that was begun is decoded."""
        with self.changed:
            self.begun -= 1
            self.held += 0 if future.exception() else _size(future.result())
            self.changed.notify_all()

    def taken(self, handful: _Handful) -> None:
        """A handful went on to its batches."""
        with self.changed:
            self.held -= _size(handful)
            self.changed.notify_all()

    def close(self) -> None:
        """Break the work off."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


def _size(handful: _Handful) -> int:
    return sum(r.x.numel() for _, r in handful if isinstance(r, Prepared))
