"""`Prior`: a small model of which ids stand beside which, in whole numbers.

A log-bilinear model (Mnih & Hinton 2007) for each codebook: every neighbour of an id (`neighbours.py`) adds a vector that its own id
picks from a table; the sum, times a matrix, plus the logarithm of how frequent each id is, gives logarithms of probabilities.

    prior = Prior.load("tokens.prior"); prior.save("tokens.prior")
    tokens.save("photo.tok", prior=prior)

All numbers of a model are integers of 8 bits (logarithms of frequencies: 16). Sums of their products are computed in float32, which is
exact as long as they stay below 2^24; a model whose sums could exceed that is refused. So every machine computes the same frequencies.

    8 bytes   magic b"TZPRIOR" and a zero byte
    2 bytes   version, little endian
    4 bytes   length of the header in bytes
    4 bytes   CRC-32 of all that follows
    header    UTF-8 JSON: name, tokenizer, vocabularies, neighbours, shifts, rank
    payload   zlib: for each codebook the tables of its neighbours, the matrix, the logarithms

`tokenzoo corpus prior` makes one out of a token corpus. Letters: V ids of a codebook, R rank, n ids.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..files import write_bytes
from .fixed_point import frequencies
from .neighbours import Neighbour

MAGIC, VERSION = b"TZPRIOR\0", 1
_HEAD = struct.Struct("<8sHII")
#: Largest vocabulary of a model, rows of the table of a neighbour, and neighbours of an id.
MAX_VOCAB, MAX_ROWS, MAX_NEIGHBOURS = 1 << 16, 4096, 16
#: Largest rank; largest sum of products, and of all numbers of a model.
MAX_RANK, MAX_SUM, MAX_BYTES = 256, 1 << 24, 1 << 26


class PriorError(ValueError):
    """A prior that is broken, that cannot be found, or that does not fit the tokens."""


@dataclass(frozen=True, eq=False)
class BookPrior:
    """The model of one codebook.

    Attributes:
        neighbours: which ids it looks at.
        tables: for each neighbour int8 `[rows + 1, R]`; the last row is that of a neighbour that does not exist.
        matrix: int8 `[R, V]`.
        logarithms: int16 `[V]`, in `fixed_point.UNIT` steps a bit.
        shift: bits that sums of products are shifted down by.
    """

    neighbours: tuple[Neighbour, ...]
    tables: tuple[np.ndarray, ...]
    matrix: np.ndarray
    logarithms: np.ndarray
    shift: int

    @cached_property
    def _factors(self) -> np.ndarray:
        return self.matrix.astype(np.float32)

    @cached_property
    def _base(self) -> np.ndarray:
        return self.logarithms.astype(np.int64)

    def vectors(self, which: int, ids: np.ndarray, vocab_size: int) -> np.ndarray:
        """Rows of one neighbour's table, int32 `[.., R]`; ids of `vocab_size` stand for none."""
        table = self.tables[which]
        return table[row_of(ids, vocab_size)].astype(np.int32)

    def frequencies(self, sums: np.ndarray) -> np.ndarray:
        """Frequencies of all V ids, `[n, V]`, given the sums of the neighbours' vectors `[n, R]`; see `fixed_point.py`."""
        products = (sums.astype(np.float32) @ self._factors).astype(np.int64)
        return frequencies(self._base + (products >> self.shift))

    def arrays(self) -> list[np.ndarray]:
        """All numbers, in the order of the file."""
        return [*self.tables, self.matrix, self.logarithms]


def rows_of(vocab_size: int) -> int:
    """Rows of a neighbour's table, without that of none: large vocabularies share rows, neighbouring ids the same."""
    return min(vocab_size, MAX_ROWS)


def row_of(ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """Rows of ids of `0..vocab_size`; the last one means that there is no neighbour."""
    return ids * rows_of(vocab_size) // vocab_size


@dataclass(frozen=True, eq=False)
class Prior:
    """A model of the ids of one tokenizer.

    Attributes:
        name: what files call it, of 1 to 200 characters.
        vocab_sizes: V of each codebook; tokens of the first codebooks alone are coded too.
        books: model of each codebook; None for those with one id only.
        tokenizer: whose tokens it codes: the fields of its `TokenizerId`; None: any with these vocabularies.

    Raises:
        PriorError: parts that do not fit together.
    """

    name: str
    vocab_sizes: tuple[int, ...]
    books: tuple[BookPrior | None, ...]
    tokenizer: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= 200:
            raise PriorError(f"the name of a prior is {self.name!r:.80}; allowed: text of 1 to 200 characters.")
        if not self.books or len(self.books) != len(self.vocab_sizes):
            raise PriorError(f"a prior has {len(self.books)} models for {len(self.vocab_sizes)} codebooks.")
        maker = self.tokenizer
        if maker is not None and not (isinstance(maker, Mapping) and all(isinstance(t, str) for pair in maker.items() for t in pair)):
            raise PriorError(f"the tokenizer of a prior is {maker!r:.80}; it must be a mapping of texts.")
        for k, book in enumerate(self.books):
            _check_book(k, book, self.vocab_sizes)
        if len({b.matrix.shape[0] for b in self.books if b is not None}) > 1:
            raise PriorError("the models of a prior's codebooks have different ranks; they share one.")

    def __repr__(self) -> str:
        maker = "" if self.tokenizer is None else f", of {self.tokenizer.get('name')}"
        return f"Prior({self.name!r}, V {list(self.vocab_sizes)}, {self.fingerprint[:8]}{maker})"

    @cached_property
    def fingerprint(self) -> str:
        """Identity: 32 hexadecimal digits that change with anything but the name."""
        head = {n: v for n, v in self._header().items() if n != "name"}
        out = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for data in self._data():
            out.update(data)
        return out.hexdigest()[:32]

    def check(self, vocab_sizes: Sequence[int]) -> None:
        """Raise PriorError unless it codes tokens of these vocabularies."""
        if tuple(vocab_sizes) != self.vocab_sizes[: len(vocab_sizes)]:
            raise PriorError(f"prior {self.name!r} is of codebooks of {self.vocab_sizes} ids; the tokens have {tuple(vocab_sizes)}.")

    # --- files ------------------------------------------------------------------------------------------------------

    def _header(self) -> dict[str, Any]:
        books = [
            None if b is None else {"neighbours": [[n.book, n.down, n.right] for n in b.neighbours], "shift": b.shift}
            for b in self.books
        ]
        maker = None if self.tokenizer is None else dict(self.tokenizer)
        rank = next((b.matrix.shape[0] for b in self.books if b is not None), 0)
        return {"name": self.name, "tokenizer": maker, "vocab_sizes": list(self.vocab_sizes), "rank": rank, "books": books}

    def _data(self) -> list[bytes]:
        arrays = [a for b in self.books if b is not None for a in b.arrays()]
        return [a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays]

    def to_bytes(self) -> bytes:
        """The file's content."""
        text = json.dumps(self._header(), separators=(",", ":")).encode()
        rest = text + zlib.compress(b"".join(self._data()), 9)
        return _HEAD.pack(MAGIC, VERSION, len(text), zlib.crc32(rest)) + rest

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the prior to `path`, atomically."""
        write_bytes(path, self.to_bytes())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Prior":
        """Read a file that `save` wrote.

        Raises:
            PriorError: no prior, a newer version, truncated or altered, as the message states.
            OSError: the file does not exist or cannot be read.
        """
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        return Prior.from_bytes(data, str(path))

    @staticmethod
    def from_bytes(data: bytes, name: str = "data") -> "Prior":
        """The prior in `data`; `name` is used in error messages. Raises PriorError."""
        if data[: len(MAGIC)] != MAGIC:
            raise PriorError(f"{name} is no prior of ids: it starts with {data[:8]!r}, not {MAGIC!r}.")
        if len(data) < _HEAD.size:
            raise PriorError(f"{name} is truncated: it has {len(data)} bytes.")
        _, version, length, crc = _HEAD.unpack_from(data)
        if version != VERSION:
            raise PriorError(f"{name} is of version {version}; this library reads version {VERSION}. Update tokenzoo.")
        rest = data[_HEAD.size :]
        if zlib.crc32(rest) != crc or length > len(rest):
            raise PriorError(f"{name} is truncated or was altered: its checksum does not match. Copy the file again.")
        try:
            return _assembled(json.loads(rest[:length]), rest[length:])
        except (ValueError, LookupError, TypeError, AttributeError, zlib.error, RecursionError) as error:
            raise PriorError(f"{name} is no prior that can be read: {error}") from error


def _check_book(k: int, book: BookPrior | None, vocab_sizes: Sequence[int]) -> None:
    """Raise PriorError for a model whose parts do not fit together, or whose sums are not exact in float32."""
    size = vocab_sizes[k]
    if not 1 <= size <= MAX_VOCAB or (book is None) != (size == 1):
        raise PriorError(f"codebook {k} of a prior has {size} ids; allowed: 2 to {MAX_VOCAB} with a model, 1 without.")
    if book is None:
        return
    rank = book.matrix.shape[0]
    wanted = [((rows_of(vocab_sizes[n.book]) + 1, rank), np.int8) for n in book.neighbours if 0 <= n.book <= k]
    found = [(a.shape, a.dtype.type) for a in book.tables]
    if len(wanted) > MAX_NEIGHBOURS or rank > MAX_RANK or found != wanted or len(found) != len(book.neighbours):
        raise PriorError(f"the tables of codebook {k} of a prior are {found!r:.200}; they should be {wanted!r:.200}.")
    if (book.matrix.shape, book.matrix.dtype) != ((rank, size), np.int8):
        raise PriorError(f"the matrix of codebook {k} of a prior is {book.matrix.dtype} {book.matrix.shape}.")
    if (book.logarithms.shape, book.logarithms.dtype) != ((size,), np.int16) or not 0 <= book.shift < 32:
        raise PriorError(f"codebook {k} of a prior has logarithms {book.logarithms.shape} and the shift {book.shift}.")
    largest = sum(int(np.abs(t.astype(np.int64)).max(initial=0)) for t in book.tables)
    if largest * int(np.abs(book.matrix.astype(np.int64)).sum(axis=0).max(initial=0)) >= MAX_SUM:
        raise PriorError(f"sums of codebook {k} of a prior may reach {MAX_SUM:,}, where float32 is not exact; use smaller numbers.")


def _assembled(header: Any, packed: bytes) -> Prior:
    """The prior of a parsed header and its compressed numbers; raises ValueError, LookupError, TypeError, zlib.error."""
    sizes, rank = [_whole(v, MAX_VOCAB) for v in header["vocab_sizes"]], _whole(header["rank"], MAX_RANK)
    near = [
        None if b is None else tuple(Neighbour(_whole(n[0], k), _whole(n[1], 99, -99), _whole(n[2], 99, -99)) for n in b["neighbours"])
        for k, b in enumerate(header["books"])
    ]
    shapes = [
        None if n is None else [*((rows_of(sizes[x.book]) + 1, rank) for x in n), (rank, sizes[k]), (2 * sizes[k],)]
        for k, n in enumerate(near)
    ]
    total = sum(int(np.prod(s)) for each in shapes if each is not None for s in each)
    if total > MAX_BYTES:
        raise ValueError(f"its numbers would take {total:,} bytes; at most {MAX_BYTES:,} are allowed.")
    opened = zlib.decompressobj()
    data = opened.decompress(packed, total + 1)
    if len(data) != total or not opened.eof or opened.unused_data:
        raise ValueError(f"it does not hold the {total:,} bytes that its header describes.")
    books: list[BookPrior | None] = []
    at = 0
    for k, each in enumerate(shapes):
        if each is None:
            books.append(None)
            continue
        arrays = []
        for shape in each:
            count = int(np.prod(shape))
            arrays.append(np.frombuffer(data, np.int8, count, at).reshape(shape))
            at += count
        logarithms = arrays[-1].view("<i2").astype(np.int16)
        shift = _whole(header["books"][k]["shift"], 31)
        books.append(BookPrior(near[k] or (), tuple(arrays[:-2]), arrays[-2], logarithms, shift))
    return Prior(header["name"], tuple(sizes), tuple(books), header["tokenizer"])


def _whole(value: Any, most: int, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"it holds {value!r:.60} where a whole number of {least} to {most} belongs")
    return value
