"""Assembles shards from encoded units, in the order of the list, in one process, during or after the encoding.

A shard takes rows until the next one would exceed the requested size. Its files are written whole, then its
record; only then are its units deleted. After a crash in between, only this shard is written again.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from ...codecs.sealing import sha256_of
from .files import CorpusError, write_sealed
from .formats import Writer
from .ledger import FORMAT, VERSION, Failed, Ledger
from .records import Layout, id_bytes, schema


class Assembler:
    """Fills shards; `done` is the first item that no finished shard covers."""

    def __init__(self, ledger: Ledger, writer: Writer) -> None:
        self.ledger, self.writer, self.layout = ledger, writer, ledger.layout
        self.records = ledger.shard_records()
        self.done = self.records[-1]["stop"] if self.records else 0
        self.unit = next((u for u, (_, stop) in enumerate(ledger.units) if stop > self.done), len(ledger.units))
        self._empty()
        for unit in range(self.unit):  # left by a crash between record and deletion
            ledger.unit_path(unit).unlink(missing_ok=True)

    def _empty(self) -> None:
        self.tables: list[pa.Table] = []
        self.failed: list[Failed] = []
        self.bytes, self.rows = 0, 0

    def advance(self) -> None:
        """Add the next units in order that are encoded; write the shards that they fill."""
        while self.unit < len(self.ledger.units) and (path := self.ledger.unit_path(self.unit)).exists():
            if not path.is_file():
                raise CorpusError(f"{path} is no file; delete it and run the same command again.")
            table, failed = self.ledger.load_unit(self.unit)
            self._take(table, failed)
            self.unit += 1

    def finish(self) -> None:
        """Write the last shard. All units must have been added."""
        assert self.unit == len(self.ledger.units), "units are missing"
        if self.rows or self.failed or self.done < self.ledger.listing.items.num_rows:
            self._write(self.ledger.listing.items.num_rows, self.unit)

    def _take(self, table: pa.Table, failed: list[Failed]) -> None:
        """Rows and failures of one unit, without those that an earlier shard covers."""
        index = table["index"].to_numpy()
        sizes = id_bytes(table, self.layout)
        # The indices of rows and of failures, together, run through the unit without a gap.
        failed = [f for f in failed if f.index >= self.done]
        start = int(np.searchsorted(index, self.done))
        for row in range(start, len(index)):
            if self._full(int(sizes[row])):
                here = int(index[row])
                self._add(table, start, row, [f for f in failed if f.index < here])
                failed = [f for f in failed if f.index >= here]
                self._write(here, self.unit)
                start = row
            self.bytes += int(sizes[row])
            self.rows += 1
        self._add(table, start, len(index), failed)

    def _full(self, more: int) -> bool:
        o = self.ledger.options
        return self.rows > 0 and (self.bytes + more > o.shard_mb * 2**20 or (o.shard_items > 0 and self.rows >= o.shard_items))

    def _add(self, table: pa.Table, start: int, stop: int, failed: list[Failed]) -> None:
        if stop > start:
            self.tables.append(table.slice(start, stop - start).drop_columns("index"))
        self.failed += failed

    def _write(self, stop: int, unit: int) -> None:
        """One shard with what was taken in, its record, and then the end of the units before `unit`."""
        number = len(self.records)
        table = pa.concat_tables(self.tables).combine_chunks() if self.tables else None
        files = {}
        if table is not None:
            assert table.schema.equals(schema(self.layout, self.ledger.listing.metadata)), "units of another layout"
            name = f"shard-{sum(bool(r['files']) for r in self.records):05d}"
            for path in self.writer.write(self.ledger.out, name, table):
                files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        tokens = 0 if table is None else _ids_in(table, self.layout)
        record = {
            "files": files,
            "items": 0 if table is None else table.num_rows,
            "tokens": tokens,
            "start": self.done,
            "stop": stop,
            "failed": [[f.index, f.key, f.reason] for f in self.failed],
        }
        write_sealed(self.ledger.shard_path(number), record)
        self.records.append(record)
        first = next((u for u, (_, end) in enumerate(self.ledger.units) if end > self.done), unit)
        for u in range(first, unit):
            self.ledger.unit_path(u).unlink(missing_ok=True)
        self.done = stop
        self._empty()


def _ids_in(table: pa.Table, layout: Layout) -> int:
    """Number of ids of all codebooks and items in `table`, without padding."""
    if layout.book_grids:
        grids = np.concatenate([np.asarray(row, np.int64) for row in table["book_grids"].to_pylist()])
        return int(grids.reshape(-1, 2).prod(axis=1).sum())
    lengths = table["length"].to_numpy()
    return sum(int((-(-lengths // stride)).sum()) for stride in layout.steps)


def manifest(ledger: Ledger, records: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole of `manifest.json`, once `packing.json` is written. It holds no times: the same job gives the same bytes."""
    shards = [{k: v for k, v in r.items() if k != "failed"} for r in records if r["files"]]
    failures = [{"index": i, "key": key, "reason": why} for r in records for i, key, why in r["failed"]]
    totals = {"items": sum(s["items"] for s in shards), "tokens": sum(s["tokens"] for s in shards)}
    totals |= {"failed": len(failures), "shards": len(shards)}
    out = {"format": FORMAT, "version": VERSION, **ledger.head, "totals": totals, "shards": shards, "failures": failures}
    packing = ledger.out / "packing.json"
    if "packing" in ledger.head:
        out["packing_file"] = {"bytes": packing.stat().st_size, "sha256": sha256_of(packing)}
    return out
