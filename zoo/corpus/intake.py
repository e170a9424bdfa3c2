"""Reads items: open, check, decode to the network's input; on failure, the reason in one line.

Any bad file becomes a `Failure`: it is empty, cut short, of another kind, holds NaN, is too large,
or cannot be read. None of it ends the job.
"""

import io
import json
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...codecs.media import (
    Blob,
    FileBlob,
    MemoryBlob,
    Picture,
    Prepared,
    TarBlob,
    open_cell,
    open_regular,
    read_audio,
    read_clip,
    read_image,
)
from ...codecs.token_checks import is_clips
from ...codecs.tokenizer import Tokenizer
from .options import Options
from .request import encode_options
from .sources import Listing, may_name_files, open_rows


@dataclass(frozen=True)
class Failure:
    """The reason, in one line, why an item has no tokens."""

    reason: str


@dataclass(frozen=True)
class Item:
    """One item to encode: its index in the list, its key, how to open it, and its metadata columns."""

    index: int
    key: str
    blob: Blob | Failure
    metadata: dict[str, Any]


class Intake:
    """Opens and decodes items of a list, for one tokenizer. Safe to use from several threads."""

    def __init__(self, listing: Listing, tokenizer: Tokenizer, options: Options) -> None:
        self.listing, self.tokenizer, self.options = listing, tokenizer, options
        self.encode_options = encode_options(tokenizer, options)
        self.rows: dict[str, Any] = {}
        self._opening = threading.Lock()

    def items(self, start: int, stop: int) -> list[Item]:
        """Items `start .. stop - 1`, rows of tables with their bytes in memory."""
        rows = self.listing.items.slice(start, stop - start).to_pylist()
        if rows and rows[0]["kind"] == "table":  # a unit holds rows of one table only
            return self._table(start, rows)
        return [self._one(start + i, row) for i, row in enumerate(rows)]

    def _one(self, index: int, row: dict[str, Any]) -> Item:
        key, kind, place = row["key"], row["kind"], row["place"]
        empty = dict.fromkeys(self.listing.metadata.names)
        try:
            if kind == "error":
                return Item(index, key, Failure(place), empty)
            if kind == "file":
                return Item(index, key, FileBlob(place), empty)
            if kind == "tar":
                blob = TarBlob(place, key, row["at"], row["size"])
                return Item(index, key, blob, empty | self._beside(place, row["beside"]))
            may = may_name_files(place, self.listing.objects)
            return self._cell(index, key, self._rows(place, row["column"])[row["at"]], row["column"], allow_paths=may)
        except Exception as error:  # an unreadable member or row is a failure of its item, whatever the exception
            return Item(index, key, Failure(reason(error)), empty)

    def _rows(self, place: str, column: str) -> Any:
        """An open data set; the first thread opens it, and the package `datasets` cannot open one in two threads at a time."""
        with self._opening:
            if place not in self.rows:
                self.rows[place] = open_rows(place, column, self.listing.objects)
            return self.rows[place]

    def _table(self, start: int, rows: list[dict[str, Any]]) -> list[Item]:
        """Rows of one Parquet file, of as many row groups as it takes."""
        empty = dict.fromkeys(self.listing.metadata.names)
        first, last, column = rows[0]["at"], rows[-1]["at"], rows[0]["column"]
        try:
            cells = read_rows(rows[0]["place"], first, last + 1)
        except Exception as error:
            return [Item(start + i, row["key"], Failure(reason(error)), empty) for i, row in enumerate(rows)]
        folder = Path(rows[0]["place"]).parent
        return [
            self._cell(start + i, row["key"], cell, column, folder) for i, (row, cell) in enumerate(zip(rows, cells, strict=True))
        ]

    def _cell(
        self, index: int, key: str, row: dict[str, Any], column: str, folder: str | Path = "", allow_paths: bool = False
    ) -> Item:
        """One row. What files it may name: see `Options.allow_paths`; `folder`: of a table on disk."""
        metadata = {n: row.get(n) for n in self.listing.metadata.names}
        try:
            source = open_cell(row[column], allow_paths=allow_paths or self.options.allow_paths, folder=folder)
        except Exception as error:  # broken values of a table may raise anything
            return Item(index, key, Failure(reason(error)), metadata)
        blob = MemoryBlob(key, source.read()) if isinstance(source, io.IOBase) else FileBlob(str(source))
        return Item(index, key, blob, metadata)

    def _beside(self, place: str, beside: str) -> dict[str, Any]:
        """The other members of a WebDataset sample, text as such."""
        out: dict[str, Any] = {}
        for ending, offset, size in json.loads(beside) if beside else ():
            data = TarBlob(place, ending, offset, size).open().read()
            out[ending] = data.decode("utf-8", "replace") if self.listing.metadata.field(ending).type == pa.string() else data
        return out

    def decode(self, item: Item) -> Prepared | Failure:
        """Read and decode one item to the network's input."""
        if isinstance(item.blob, Failure):
            return item.blob
        try:
            if self.tokenizer.spec.modality == "audio":
                medium = read_audio(item.blob, name=item.key, max_seconds=self.options.max_seconds)
            elif is_clips(self.tokenizer):
                frames = getattr(self.encode_options, "frames", None)
                clip = read_clip(item.blob, name=item.key, frames=frames, most_pixels=self.options.max_pixels)
                medium = [Picture(frame) for frame in clip]
            else:
                medium = Picture(read_image(item.blob, name=item.key, max_pixels=self.options.max_pixels))
            return self.tokenizer.prepare(medium, self.encode_options)[0]
        except Exception as error:  # decoders may raise any exception
            return Failure(reason(error))


def read_rows(path: str, start: int, stop: int) -> list[dict[str, Any]]:
    """Rows `start .. stop - 1` of a Parquet file."""
    with open_regular(path) as source, pq.ParquetFile(source) as file:
        tables, at = [], 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if at < stop and at + count > start:
                low, high = max(0, start - at), min(count, stop - at)
                tables.append(file.read_row_group(group).slice(low, high - low))
            at += count
    return [row for table in tables for row in table.to_pylist()]


def reason(error: BaseException) -> str:
    """One line that is the same in every run: addresses of objects are left out."""
    text = re.sub(r"<[\w.]*?(\w+) object at 0x[0-9a-f]+>|( at)? 0x[0-9a-f]+", r"\1", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
