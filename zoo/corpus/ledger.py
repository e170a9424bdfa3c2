"""The ledger of a job: its plan and its progress on disk. Everything that a restart needs is in `OUT/.work`.

    OUT/shard-00000.parquet ..      finished shards
    OUT/manifest.json               written last: while it is missing, the job is unfinished
    OUT/.work/plan.json             the request: tokenizer, source, options (the head of the manifest)
    OUT/.work/items.arrow           the list of all items
    OUT/.work/units/000123.arrow    encoded units whose items are not yet in a shard
    OUT/.work/shards/00000.json     one record for each finished shard

The list of items is cut into units of work, the same in every run. Any worker may encode a unit;
the result depends on the unit only and is written atomically. One process fills the shards with the units, in order
(`assemble.py`). So the bytes of a job do not depend on the number of workers, nor on when it was killed.
"""

import functools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...codecs.config import from_mapping
from ...codecs.files import remove_partial
from .files import CorpusError, map_arrow, read_sealed, write_arrow, write_sealed
from .options import Options
from .plan import Plan, ShardRecord, of_plan
from .records import Layout
from .sources import ITEMS, Listing, units

MANIFEST = "manifest.json"
WORK = ".work"
FORMAT, VERSION = "tokenzoo-corpus", 2


class RequestError(ValueError):
    """The folder holds a job started with another tokenizer, source or option."""


@dataclass(frozen=True)
class Failed:
    """An item without tokens: its index in the list, its key, and the reason."""

    index: int
    key: str
    reason: str


@dataclass
class Ledger:
    """One job on disk.

    Attributes:
        out: the folder of shards.
        head: the request, as `plan.json` and the manifest hold it.
        listing: all items.
        units: the units of work, `(start, stop)` in the list.
    """

    out: Path
    head: dict[str, Any]
    listing: Listing
    units: list[tuple[int, int]]

    @property
    def work(self) -> Path:
        """The folder of everything that is not yet final."""
        return self.out / WORK

    @functools.cached_property
    def options(self) -> Options:
        """The options of the request."""
        return from_mapping(Options, self.head["options"])

    @functools.cached_property
    def layout(self) -> Layout:
        """The fields of tokens that all items share."""
        return from_mapping(Layout, self.head["layout"])

    def unit_path(self, unit: int) -> Path:
        """Path of the file of an encoded unit."""
        return self.work / "units" / f"{unit:06d}.arrow"

    def shard_path(self, shard: int) -> Path:
        """Path of the record of a finished shard."""
        return self.work / "shards" / f"{shard:05d}.json"

    def save_unit(self, unit: int, table: pa.Table, indices: Sequence[int], failures: Sequence[Failed]) -> None:
        """Keep an encoded unit: rows of `records.py`, the place in the list of each, and what failed."""
        failed = [[f.index, f.key, f.reason] for f in failures]
        table = table.append_column("index", pa.array(indices, pa.int64()))
        table = table.replace_schema_metadata({b"failed": json.dumps(failed).encode("utf-8", "surrogateescape")})
        write_arrow(self.unit_path(unit), table.combine_chunks())

    def load_unit(self, unit: int) -> tuple[pa.Table, list[Failed]]:
        """What `save_unit` kept; the table has the column `index`.

        Raises:
            CorpusError: the file was altered.
        """
        try:
            table = map_arrow(self.unit_path(unit))
        except CorpusError as error:
            raise CorpusError(f"{error} Delete it and run the same command again.") from error
        failed = json.loads(table.schema.metadata[b"failed"].decode("utf-8", "surrogateescape"))
        return table.replace_schema_metadata(None), [Failed(*f) for f in failed]

    def todo(self, first_item: int) -> list[int]:
        """Units that hold items from `first_item` on and are not encoded."""
        have = {p.name for p in (self.work / "units").glob("*.arrow")}
        return [u for u, (_, stop) in enumerate(self.units) if stop > first_item and f"{u:06d}.arrow" not in have]

    def shard_records(self) -> list[dict[str, Any]]:
        """Records of the finished shards, in order."""
        out: list[dict[str, Any]] = []
        while self.shard_path(len(out)).is_file():
            path = self.shard_path(len(out))
            record = read_work(path)
            facts = of_plan(ShardRecord, record, path)
            if facts.start != (out[-1]["stop"] if out else 0) or facts.stop > self.listing.items.num_rows:
                raise CorpusError(f"{path} does not follow the record before it. {_AFRESH}")
            out.append(record)
        return out


def begin(out: Path, head: dict[str, Any], listing: Listing) -> Ledger:
    """Write the plan of a new job, or resume one that was started with the same request.

    Raises:
        RequestError: the folder holds another job or other files; the message names what differs.
    """
    plan = out / WORK / "plan.json"
    if plan.exists():
        old = read_plan(out)
        check_same(out, old, head)
        head = old
    elif out.is_dir() and any(p.name not in (WORK,) and not p.name.startswith(".") for p in out.iterdir()):
        raise RequestError(f"{out} holds other files; pass an empty or new folder.")
    for folder in (out, out / WORK, out / WORK / "units", out / WORK / "shards"):
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
    ledger = _ledger(out, head, listing)
    marks = {b"metadata": listing.metadata.serialize().to_pybytes(), b"names": json.dumps(listing.names).encode()}
    write_arrow(out / WORK / "items.arrow", listing.items.replace_schema_metadata(marks).combine_chunks())
    write_sealed(plan, head)  # written last: if the plan exists, the job is complete
    return ledger


def attach(out: Path) -> Ledger:
    """The job that another process planned."""
    head = read_plan(out)
    table = map_arrow(out / WORK / "items.arrow")
    marks = table.schema.metadata
    metadata = pa.ipc.read_schema(pa.py_buffer(marks[b"metadata"]))
    listing = Listing(table.cast(ITEMS), metadata, json.loads(marks[b"names"]))
    return _ledger(out, head, listing)


_AFRESH = "Delete the whole output folder to begin again."


def read_work(path: Path) -> dict[str, Any]:
    """A JSON file of the work folder; CorpusError with advice where it was altered."""
    try:
        return read_sealed(path)
    except CorpusError as error:
        raise CorpusError(f"{error} If there is no other copy: {_AFRESH[0].lower()}{_AFRESH[1:]}") from error


def read_plan(out: Path) -> dict[str, Any]:
    """The request of a job that was begun.

    Raises:
        CorpusError: altered, or written by another version.
    """
    path = out / WORK / "plan.json"
    head = read_work(path)
    of_plan(Plan, head, path)
    return head


def _ledger(out: Path, head: dict[str, Any], listing: Listing) -> Ledger:
    o = from_mapping(Options, head["options"])
    return Ledger(out, head, listing, units(listing.items, o.unit_items, o.unit_mb * 2**20))


def check_same(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise RequestError where a request differs from that of the job in `out`."""
    changes = list(changed_keys(old, new))
    if changes:
        raise RequestError(
            f"{out} holds a job with another request: {'; '.join(changes[:6])}. Use the same tokenizer, source and options "
            "to go on with it, or another folder."
        )


def changed_keys(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """What differs, as `name: old -> new`. Names of source and tokenizer do not count, only what they hold."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            if (name, key) in (("source", "names"), ("tokenizer", "name"), ("tokenizer", "revision")):
                continue
            yield from changed_keys(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def finish(ledger: Ledger, manifest: dict[str, Any]) -> None:
    """Write the manifest, which ends the job, and clear the work folder."""
    write_sealed(ledger.out / MANIFEST, manifest)
    clear(ledger.out)


def clear(out: Path) -> None:
    """Remove what a finished job no longer needs."""
    remove_partial(out)
    shutil.rmtree(out / WORK, ignore_errors=True)
