"""WebDataset shards: for each item `.ids.npy` `[K, L]`, `.json` with the rest, and its metadata of bytes as they are.

    import webdataset
    for sample in webdataset.WebDataset("tokens/shard-{00000..00017}.tar").decode(): sample["ids.npy"], sample["json"]
"""

import dataclasses
import io
import json
import math
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ....codecs.config import Signed, from_mapping
from ....codecs.files import replacing
from ..files import CorpusError
from ..packing.base import Packing
from ..records import VECTORS, Layout, id_type, own_fields
from .parquet import one_each

#: Side information in `.json`, besides the source's own columns, which stand under "metadata".
_OWN = ("key", "length", "grid", "size", "sample_rate_hz", "scale", "book_grids")


class TarWriter:
    """Plain tar without times and owners."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.own = {f.name for f in own_fields(layout)}

    def write(self, folder: Path, name: str, table: pa.Table) -> list[Path]:
        """See `Writer`."""
        path = folder / f"{name}.tar"
        with replacing(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for i in range(table.num_rows):
                row = table.slice(i, 1).to_pylist()[0]
                for ending, data in self._members(row):
                    info = tarfile.TarInfo(f"{name}-{i:06d}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return [path]

    def _members(self, row: dict[str, Any]) -> list[tuple[str, bytes]]:
        ids = io.BytesIO()
        np.save(ids, _matrix(row, self.layout))
        own = {n: row[n] for n in _OWN if row.get(n) is not None}
        if self.layout.side_vectors:
            own["side_vectors"] = {n: row[VECTORS + n] for n in self.layout.side_vectors}
        rest = {n: v for n, v in row.items() if n not in self.own and not isinstance(v, bytes)}
        text = json.dumps(own | {"metadata": rest}, default=str, ensure_ascii=False).encode("utf-8", "surrogateescape")
        raw = [(n, v) for n, v in row.items() if isinstance(v, bytes)]
        return [("ids.npy", ids.getvalue()), ("json", text), *raw]


def _matrix(row: dict[str, Any], layout: Layout) -> np.ndarray:
    """Ids `[K, L]` in the smallest type that holds all codebooks, multi-rate ones repeated over their stride."""
    kind, length = id_type(max(layout.vocab_sizes)), row["length"]
    books = [np.repeat(np.array(row[f"ids_{k}"], kind), s)[:length] for k, s in enumerate(layout.steps)]
    return np.stack(books)


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """The types of a sample's `.json`, see `records.py`."""

    key: str
    length: int
    grid: tuple[int, ...]
    size: tuple[int, ...]
    sample_rate_hz: int | None = None
    scale: tuple[float, ...] | None = None
    book_grids: tuple[int, ...] | None = None
    side_vectors: dict[str, tuple[tuple[Signed, ...], ...]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


class TarShard:
    """See `Shard`; members are read at their offsets."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self.samples: list[dict[str, tuple[int, int]]] = []
        try:
            self._list()
        except (tarfile.TarError, EOFError, ValueError, OSError) as error:
            raise CorpusError(f"{path} is no tar that can be read ({(str(error).splitlines() or ['?'])[0][:200]}).") from error
        self.data = np.memmap(path, np.uint8, "r")
        for members in self.samples:
            if not {"ids.npy", "json"} <= members.keys():
                raise CorpusError(f"{path} holds a sample without .ids.npy or .json; it is no shard of this corpus.")

    def _list(self) -> None:
        with tarfile.open(self.path, "r:") as tar:
            last = ""
            for member in tar:
                sample, _, ending = member.name.partition(".")
                if sample != last:
                    self.samples.append({})
                    last = sample
                self.samples[-1][ending] = (member.offset_data, member.size)

    def __len__(self) -> int:
        return len(self.samples)

    def _bytes(self, index: int, ending: str) -> bytes:
        offset, size = self.samples[index][ending]
        return self.data[offset : offset + size].tobytes()

    def _facts(self, index: int) -> dict[str, Any]:
        try:
            facts = json.loads(self._bytes(index, "json").decode("utf-8", "surrogateescape"))
            own = dataclasses.asdict(from_mapping(_Facts, facts))
        except (ValueError, OverflowError, RecursionError) as error:
            raise CorpusError(f"{self.path}, sample {index}: {(str(error).splitlines() or ['?'])[0][:300]}") from error
        metadata, vectors = own.pop("metadata"), own.pop("side_vectors")
        return {n: v for n, v in own.items() if v is not None} | {VECTORS + n: v for n, v in vectors.items()} | metadata

    def _ids(self, index: int, length: int) -> np.ndarray:
        data = self._bytes(index, "ids.npy")
        want = (len(self.layout.vocab_sizes), length)
        try:
            file = io.BytesIO(data)
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            whole = len(data) == file.tell() + math.prod(shape) * kind.itemsize
            if whole and shape == want and kind == id_type(max(self.layout.vocab_sizes)):
                return np.load(io.BytesIO(data), allow_pickle=False)
        except Exception as error:  # NumPy reads the header as Python's own literals, whose errors are of many classes
            raise CorpusError(f"{self.path}, sample {index}: {(str(error).splitlines() or ['?'])[0][:200]}") from error
        raise CorpusError(f"{self.path}, sample {index}: its ids are not {want[0]} x {want[1]} as its .json says.")

    def row(self, index: int) -> dict[str, Any]:
        """All columns of one item."""
        out = self._facts(index)
        ids = self._ids(index, out["length"])
        out |= {f"ids_{k}": ids[k, ::s] for k, s in enumerate(self.layout.steps)}
        return out | {n: self._bytes(index, n) for n in self.samples[index] if n not in ("ids.npy", "json")}

    def column(self, name: str) -> Sequence[Any]:
        """One column of all items."""
        return [self._facts(i).get(name) for i in range(len(self))]

    def sequence(self, index: int) -> np.ndarray | None:
        """Tar shards hold no packed sequences."""
        return None


def writer(layout: Layout, packing: Packing | None, about: dict[str, Any]) -> TarWriter:
    """See `formats.writer`."""
    return TarWriter(layout)


def open_shard(folder: Path, files: dict[str, Any], layout: Layout, cache: Path) -> TarShard:
    """See `formats.open_shard`."""
    (name,) = one_each(folder, files, ".tar")
    return TarShard(folder / name, layout)
