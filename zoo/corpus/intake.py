"""From an item of the list to what the network takes: open, check, decode, and say in one line why that failed.

Everything that a file can do wrong ends as a `Failure`: it is empty, cut short, of another kind, holds NaN, is too large,
or cannot be read. None of it ends the job.
"""

import io
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ...codecs.media import MediaError, Prepared, read_audio, read_image
from ...codecs.tokenizer import Tokenizer
from ...train.data.media import Blob, MemoryBlob
from ...train.data.sources import FileBlob, TarBlob, open_cell
from .options import Options
from .sources import Listing, open_rows


@dataclass(frozen=True)
class Failure:
    """Why an item has no tokens."""

    reason: str


@dataclass(frozen=True)
class Item:
    """One item on its way: where it stands in the list, its key, how to open it, and its metadata columns."""

    index: int
    key: str
    blob: Blob | Failure
    metadata: dict[str, Any]


class Intake:
    """Opens and decodes items of a list, for one tokenizer. Safe to use from several threads."""

    def __init__(self, listing: Listing, tokenizer: Tokenizer, options: Options) -> None:
        self.listing, self.tokenizer, self.options = listing, tokenizer, options
        self.rows: dict[str, Any] = {}

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
            if place not in self.rows:
                self.rows[place] = open_rows(place, row["column"], self.listing.objects)
            return self._cell(index, key, self.rows[place][row["at"]], row["column"])
        except Exception as error:  # a member or row that cannot be had is the item's failure, whatever was raised
            return Item(index, key, Failure(reason(error)), empty)

    def _table(self, start: int, rows: list[dict[str, Any]]) -> list[Item]:
        """Rows of one Parquet file, of as many row groups as it takes."""
        empty = dict.fromkeys(self.listing.metadata.names)
        first, last, column = rows[0]["at"], rows[-1]["at"], rows[0]["column"]
        try:
            cells = read_rows(rows[0]["place"], first, last + 1)
        except Exception as error:
            return [Item(start + i, row["key"], Failure(reason(error)), empty) for i, row in enumerate(rows)]
        return [self._cell(start + i, row["key"], cell, column) for i, (row, cell) in enumerate(zip(rows, cells, strict=True))]

    def _cell(self, index: int, key: str, row: dict[str, Any], column: str) -> Item:
        metadata = {n: row.get(n) for n in self.listing.metadata.names}
        try:
            source = open_cell(row[column])
        except ValueError as error:
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
        """Read one item into what the network takes."""
        if isinstance(item.blob, Failure):
            return item.blob
        try:
            source = item.blob.open()
            with open(source, "rb") if isinstance(source, Path) else source as file:
                check_whole(file)
                # Files by their path: the decoder then reads by itself, without calling back into Python.
                media = source if isinstance(source, Path) else file
                if self.tokenizer.spec.modality == "audio":
                    clip = read_audio(media, name=item.key, max_seconds=self.options.max_seconds)
                    return self.tokenizer.prepare(clip)  # type: ignore[operator]
                low, high = self.tokenizer.spec.value_range  # type: ignore[attr-defined]
                picture = read_image(media, name=item.key, max_pixels=self.options.max_pixels)
                checked = Prepared(picture * (high - low) + low, tuple(picture.shape[-2:]))
                return self.tokenizer.prepare(checked, resize=self.options.resize)  # type: ignore[operator]
        except Exception as error:  # decoders raise whatever they like
            return Failure(reason(error))


def read_rows(path: str, start: int, stop: int) -> list[dict[str, Any]]:
    """Rows `start .. stop - 1` of a Parquet file."""
    with pq.ParquetFile(path) as file:
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


def check_whole(file: BinaryIO) -> None:
    """Raise MediaError where a file is empty, or shorter than its own header says and its decoder would not tell.

    WAV and AIFF decoders give what is there of a truncated file; decoders of pictures and of compressed sound raise.
    """
    head = file.read(12)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not size:
        raise MediaError("empty file: 0 bytes")
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        _check_chunks(file, size, "<" if head[:4] == b"RIFF" else ">", b"data")
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        _check_chunks(file, size, ">", b"SSND")
    file.seek(0)


def _check_chunks(file: BinaryIO, size: int, order: str, wanted: bytes) -> None:
    """Walk the chunks of a RIFF or IFF file up to the samples, and check that they are all there."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if name == wanted:
            # Writers to pipes leave the length open: 0 or all ones.
            if 0 < length < 0x7FFFF000 and at + 8 + length > size:
                raise MediaError(f"truncated: {size - at - 8} of {length} bytes of samples are there")
            return
        at += 8 + length + length % 2
    raise MediaError("truncated: it ends before its samples")
