"""Encoding pipeline of one process: reader threads prefetch and decode media while the network encodes the current batch.

    unit numbers -> feeder thread -> reader threads -> batches, network (this thread) -> writer thread -> unit file

The order of items is fixed, so batches are the same in every run. Readers take small items in chunks: frequent thread
switches would slow down the thread that runs the network. Prefetch is bounded (back-pressure): `_PrefetchLimit` blocks the
feeder once a few batches, or a few larger chunks, are decoded and not yet consumed.
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
from .request import encode_options

#: Limits of one chunk, the unit of work of a reader thread: items, and encoded bytes in total.
CHUNK_ITEMS, CHUNK_BYTES = 16, 512 * 1024


@dataclass(frozen=True)
class UnitDone:
    """Result of one unit: number of encoded items, of their ids, and of failed items."""

    unit: int
    items: int
    tokens: int
    failed: int


@dataclass(frozen=True)
class UnitOrder:
    """A unit to encode.

    Args:
        unit: its number in the ledger.
        careful: read one item at a time and report each, to find an item that crashes the worker.
        skip: `(item index, reason)` of items that crashed a worker before; they become failures unread.
    """

    unit: int
    careful: bool = False
    skip: tuple[tuple[int, str], ...] = ()


_Chunk = list[tuple[Item, Prepared | Failure]]
# Entries of the stream: a future of a chunk; a `UnitOrder`, the end of that unit; a `UnitDone`, once the unit is on disk; an
# exception, which the consumer raises; None, the end of all items.
_Stream = queue.Queue


class Pipeline:
    """Encodes units of a ledger: reads, decodes, batches, runs the network and writes unit files.

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

    def run(self, orders: Iterable[UnitOrder]) -> Iterator[UnitDone]:
        """Encode units, in the order in which they come; each is on disk when it is yielded."""
        stream: _Stream[Any] = queue.Queue()
        limit = _PrefetchLimit(4 * self.options.batch_elements, 2 * self.readers)
        threads = self.options.threads  # set in each new thread, which would otherwise use torch's default
        with (
            ThreadPoolExecutor(self.readers, initializer=torch.set_num_threads, initargs=(threads,)) as pool,
            ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as writer,
        ):
            feeder = threading.Thread(target=self._feed, args=(orders, stream, limit, pool), daemon=True)
            feeder.start()
            try:
                yield from self._consume(stream, limit, writer)
            finally:
                limit.close()

    def _feed(self, orders: Iterable[UnitOrder], stream: _Stream[Any], limit: "_PrefetchLimit", pool: ThreadPoolExecutor) -> None:
        """Submit each unit's chunks to the readers; queue their futures, then the order that ends the unit; None at the end."""
        try:
            for order in orders:
                start, stop = self.ledger.units[order.unit]
                for first, last in self._chunks(start, stop, 1 if order.careful else CHUNK_ITEMS):
                    if not limit.acquire():
                        return
                    if order.careful:
                        self.at(first)
                    future = pool.submit(self._read, first, last, dict(order.skip))
                    future.add_done_callback(limit.decoded)
                    if order.careful:
                        future.exception()  # waits
                        self.at(-1)
                    stream.put(future)
                stream.put(order)
            stream.put(None)
        except BaseException as error:  # the consumer raises it
            stream.put(error)

    def _chunks(self, start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
        """Split items `start` to `stop - 1` into chunks `(first, end)`, `end` exclusive, of at most `most` items and `CHUNK_BYTES`."""
        first, total = start, 0
        for i, size in enumerate(self.ledger.listing.items["size"].slice(start, stop - start).to_pylist(), start):
            if i > first and (i - first >= most or total + size > CHUNK_BYTES):
                yield first, i
                first, total = i, 0
            total += max(0, size)
        yield first, stop

    def _read(self, first: int, last: int, skip: dict[int, str]) -> _Chunk:
        """Open and decode the items `first` to `last - 1`; those in `skip` become failures unread."""
        out: _Chunk = []
        for item in self.intake.items(first, last):
            why = skip.get(item.index)
            out.append((item, self.intake.decode(item) if why is None else Failure(why)))
        return out

    def _consume(self, stream: _Stream[Any], limit: "_PrefetchLimit", writer: ThreadPoolExecutor) -> Iterator[UnitDone]:
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
            elif isinstance(entry, UnitOrder):
                unit.close()
                writer.submit(self._save, entry.unit, unit.records, unit.failures, stream)
                unit, writing = _Unit(self.tokenizer, self.options), writing + 1
            else:
                chunk: _Chunk = entry.result()
                limit.consumed(chunk)
                for item, result in chunk:
                    unit.add(item, result)

    def _save(self, unit: int, records: list[Record], failures: list[Failed], stream: _Stream[Any]) -> None:
        """Write the unit's file, rows in the order of the list, and put its `UnitDone` on the stream."""
        try:
            records = sorted(records, key=lambda r: r.index)
            failures = sorted(failures, key=lambda f: f.index)
            table = to_table(records, self.layout, self.ledger.listing.metadata)
            self.ledger.save_unit(unit, table, [r.index for r in records], failures)
            tokens = sum(sum(r.tokens.counts()[0]) for r in records)
            stream.put(UnitDone(unit, len(records), tokens, len(failures)))
        except BaseException as error:  # the consumer raises it
            stream.put(error)


class _Unit:
    """State of the unit being encoded: open batches, records and failures."""

    def __init__(self, tokenizer: Tokenizer, options: Options) -> None:
        self.tokenizer, self.options = tokenizer, encode_options(tokenizer, options)
        self.batches = Batches(tokenizer, options.batch_elements)
        self.records: list[Record] = []
        self.failures: list[Failed] = []

    def add(self, item: Item, result: Prepared | Failure) -> None:
        """Add one decoded item; encode the batches that it fills."""
        if isinstance(result, Failure):
            self.failures.append(Failed(item.index, item.key, result.reason))
            return
        for batch in self.batches.add(item, result):
            self._run(batch)

    def close(self) -> None:
        """Encode the batches that are not full at the end of the unit."""
        for batch in self.batches.rest():
            self._run(batch)

    def _run(self, batch: Waiting) -> None:
        for result in encode(self.tokenizer, batch, self.options):
            if isinstance(result, Record):
                self.records.append(result)
            else:
                item, failure = result
                self.failures.append(Failed(item.index, item.key, failure.reason))


class _PrefetchLimit:
    """Bounded prefetch: limits the elements decoded but not yet consumed, and the chunks being read.

    Args:
        elements: pixels or samples that may wait.
        chunks: chunks that may be in progress at a time.
    """

    def __init__(self, elements: int, chunks: int) -> None:
        self.elements, self.chunks = elements, chunks
        self.held, self.begun, self.closed = 0, 0, False
        self.changed = threading.Condition()

    def acquire(self) -> bool:
        """Block until another chunk may be started; False if the pipeline was closed."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or (self.held < self.elements and self.begun < self.chunks))
            self.begun += 1
            return not self.closed

    def decoded(self, future: "Future[_Chunk]") -> None:
        """Callback: the chunk of `future` has been read and decoded."""
        with self.changed:
            self.begun -= 1
            self.held += 0 if future.exception() else _size(future.result())
            self.changed.notify_all()

    def consumed(self, chunk: _Chunk) -> None:
        """The consumer has added the items of `chunk` to batches."""
        with self.changed:
            self.held -= _size(chunk)
            self.changed.notify_all()

    def close(self) -> None:
        """Stop the feeder: wake a blocked `acquire`, which returns False."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


def _size(chunk: _Chunk) -> int:
    return sum(r.x.numel() for _, r in chunk if isinstance(r, Prepared))
