"""Units of work through readers and network: while the network runs on one batch, threads read and decode the next ones.

    unit numbers -> feeder thread -> reader threads -> batches, network -> unit file

The order of items never changes on the way, so that batches are the same in every run. Readers run ahead by a few
batches, or by a few items where those are larger.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from ...codecs.media import Prepared
from ...codecs.tokenizer import Tokenizer
from .batches import Batches, encode
from .intake import Failure, Intake, Item
from .ledger import Failed, Ledger
from .records import Layout, Record, to_table


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


class Room:
    """How far readers may run ahead: so many elements decoded and not yet taken, and so many items begun beyond those."""

    def __init__(self, elements: int, items: int) -> None:
        self.elements, self.items = elements, items
        self.held, self.begun, self.closed = 0, 0, False
        self.changed = threading.Condition()

    def enter(self) -> bool:
        """Wait until one more item may be begun; False where the work was broken off."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or (self.held < self.elements and self.begun < self.items))
            self.begun += 1
            return not self.closed

    def decoded(self, future: "Future[Prepared | Failure]") -> None:
        """An item that was begun is decoded."""
        with self.changed:
            self.begun -= 1
            self.held += _size(future.result())
            self.changed.notify_all()

    def taken(self, result: Prepared | Failure) -> None:
        """An item went on to its batch."""
        with self.changed:
            self.held -= _size(result)
            self.changed.notify_all()

    def close(self) -> None:
        """Break the work off."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


def _size(result: Prepared | Failure) -> int:
    return 0 if isinstance(result, Failure) else result.x.numel()


_Decoded = tuple[Item, "Future[Prepared | Failure]"]


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
        stream: queue.Queue[Order | _Decoded | BaseException | None] = queue.Queue()
        room = Room(4 * self.options.batch_elements, 2 * self.readers)
        # New threads would take torch's default number of threads each, whatever this one was told.
        with ThreadPoolExecutor(self.readers, initializer=torch.set_num_threads, initargs=(self.options.threads,)) as pool:
            feeder = threading.Thread(target=self._feed, args=(orders, stream, room, pool), daemon=True)
            feeder.start()
            try:
                yield from self._consume(stream, room)
            finally:
                room.close()

    def _feed(
        self,
        orders: Iterable[Order],
        stream: "queue.Queue[Order | _Decoded | BaseException | None]",
        room: Room,
        pool: ThreadPoolExecutor,
    ) -> None:
        """Put each unit's items on the stream, then the unit itself to close it; None at the end."""
        try:
            for order in orders:
                skip = dict(order.skip)
                for item in pool.submit(self.intake.items, *self.ledger.units[order.unit]).result():
                    if not room.enter():
                        return
                    if item.index in skip:
                        item = Item(item.index, item.key, Failure(skip[item.index]), item.metadata)
                    if order.careful:
                        self.at(item.index)
                    future = pool.submit(self.intake.decode, item)
                    future.add_done_callback(room.decoded)
                    if order.careful:
                        future.exception()  # waits
                        self.at(-1)
                    stream.put((item, future))
                stream.put(order)
            stream.put(None)
        except BaseException as error:  # the consumer raises it
            stream.put(error)

    def _consume(
        self, stream: "queue.Queue[Order | _Decoded | BaseException | None]", room: Room
    ) -> Iterator[UnitDone]:
        batches = Batches(self.tokenizer, self.options.batch_elements)
        records: list[Record] = []
        failures: list[Failed] = []

        def take(results: list[Record | tuple[Item, Failure]]) -> None:
            for r in results:
                if isinstance(r, Record):
                    records.append(r)
                else:
                    failures.append(Failed(r[0].index, r[0].key, r[1].reason))

        while (entry := stream.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            if isinstance(entry, Order):
                for batch in batches.rest():
                    take(encode(self.tokenizer, batch, self.options.codebooks))
                yield self._close(entry.unit, records, failures)
                batches, records, failures = Batches(self.tokenizer, self.options.batch_elements), [], []
                continue
            item, future = entry
            result = future.result()
            room.taken(result)
            if isinstance(result, Failure):
                take([(item, result)])
                continue
            for batch in batches.add(item, result):
                take(encode(self.tokenizer, batch, self.options.codebooks))

    def _close(self, unit: int, records: list[Record], failures: list[Failed]) -> UnitDone:
        """Write the unit's file, rows in the order of the list."""
        records = sorted(records, key=lambda r: r.index)
        failures = sorted(failures, key=lambda f: f.index)
        table = to_table(records, self.layout, self.ledger.listing.metadata)
        self.ledger.save_unit(unit, table, [r.index for r in records], failures)
        return UnitDone(unit, len(records), sum(_ids(r, self.layout) for r in records), len(failures))


def _ids(record: Record, layout: Layout) -> int:
    return sum(layout.counts(record.tokens.ids.shape[2]))
