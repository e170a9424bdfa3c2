"""Items of a token corpus, or of a text, one after the other, and a bounded sample of them.

Letters: K codebooks, L token positions, V codebook size.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ....codecs.tokens import Tokens
from ...progress import Bar
from ..dataset import TokenDataset

#: Ids over all codebooks that a sample holds at most.
SAMPLE_IDS = 2**20
#: Bytes or words of a text that make one item.
TEXT_ITEM = 1024
#: What a text may be cut into.
TEXT_UNITS = ("bytes", "words")
_CHUNK = 2**20


@dataclass(frozen=True)
class Item:
    """One picture, sound or piece of text.

    Attributes:
        key: what it is called; held-out items are chosen by it.
        ids: of each codebook its own ids, int64 `[L_k]`, each once.
        steps: positions that share one id, for each codebook.
        grids: the shape that each codebook's ids unroll from, row by row.
    """

    key: str
    ids: tuple[np.ndarray, ...]
    steps: tuple[int, ...]
    grids: tuple[tuple[int, ...], ...]

    def at(self, book: int, other: int) -> np.ndarray | None:
        """Ids of codebook `other` at the positions of the ids of `book`, `[L_book]`; None where their grids do not match."""
        if self.steps[book] == self.steps[other] and self.grids[book] != self.grids[other]:
            return None
        places = np.arange(len(self.ids[book])) * self.steps[book] // self.steps[other]
        return self.ids[other][places]

    def cut(self, positions: int) -> "Item":
        """The first positions, at least one id a codebook."""
        ids = tuple(x[: -(-positions // s)] for x, s in zip(self.ids, self.steps, strict=True))
        return Item(self.key, ids, self.steps, tuple((len(x),) for x in ids))


def item_of(tokens: Tokens, key: str) -> Item:
    """The one item of `tokens`."""
    whole, length = tokens.ids[0].numpy(), int(tokens.lengths[0])
    steps = tokens.strides or (1,) * len(whole)
    if tokens.book_grids is not None:
        grids = [tuple(g) for g in tokens.book_grids[0].tolist()]
        return Item(key, tuple(x[: math.prod(g)] for x, g in zip(whole, grids, strict=True)), steps, tuple(grids))
    ids = tuple(x[:length:s] for x, s in zip(whole, steps, strict=True))
    grid = tokens.grid if math.prod(tokens.grid) == length else (length,)
    return Item(key, ids, steps, tuple(grid if s == 1 else (len(x),) for x, s in zip(ids, steps, strict=True)))


class CorpusSource:
    """A folder that `tokenize` wrote.

    Args:
        folder: of a finished corpus.
        limit: only the first items, this many; 0: all.

    Raises:
        CorpusError: no finished corpus, or one that was altered.
    """

    def __init__(self, folder: str | Path, *, limit: int = 0) -> None:
        self.data = TokenDataset(folder, seed=None)
        layout, totals = self.data.layout, self.data.manifest["totals"]
        self.name = str(folder)
        self.modality, self.vocab_sizes = layout.modality, layout.vocab_sizes
        self.books = layout.names or tuple(str(k) for k in range(len(layout.vocab_sizes)))
        self.items = min(limit or self.data.documents, self.data.documents)
        self.total_ids = math.ceil(totals["tokens"] * self.items / max(1, self.data.documents))
        #: what the order of ids along an item is called
        self.order = "time" if layout.modality == "audio" else "raster" if layout.planar or layout.book_grids else "sequence"
        self.tokenizer: str | None = self.data.manifest["tokenizer"]["sha256"]

    def __iter__(self) -> Iterator[Item]:
        for i in range(self.items):
            yield item_of(self.data.tokens(i), str(self.data.metadata(i)["key"]))


class TextSource:
    """A text file as ids of one codebook: its bytes, or its words between white space, numbered as they appear.

    Args:
        path: the file; its words end at ASCII white space.
        unit: "bytes" or "words".
        limit: only the first items, this many; 0: all.

    Raises:
        ValueError: no such file, an empty one, or another unit.
    """

    modality, order, tokenizer = "text", "sequence", None

    def __init__(self, path: str | os.PathLike[str], *, unit: str = "bytes", limit: int = 0) -> None:
        self.path, self.unit = Path(path), unit
        if unit not in TEXT_UNITS:
            raise ValueError(f"a text is cut into {', '.join(TEXT_UNITS)}, not {unit!r}.")
        if not self.path.is_file():
            raise ValueError(f"{path} is no file; give a text file.")
        self.words: dict[bytes, int] = {}
        count = self.path.stat().st_size if unit == "bytes" else self._number()
        if not count:
            raise ValueError(f"{path} holds no {unit}.")
        self.name, self.books = f"{self.path.name} ({unit})", (unit,)
        self.vocab_sizes = (256 if unit == "bytes" else len(self.words),)
        whole = -(-count // TEXT_ITEM)
        self.items = min(limit or whole, whole)
        self.total_ids = min(count, self.items * TEXT_ITEM)

    def __iter__(self) -> Iterator[Item]:
        left, number = np.zeros(0, np.int64), 0
        for ids in self._parts():
            left = np.concatenate([left, ids])
            while len(left) >= TEXT_ITEM and number < self.items:
                yield self._item(left[:TEXT_ITEM], number)
                left, number = left[TEXT_ITEM:], number + 1
        if len(left) and number < self.items:
            yield self._item(left, number)

    def _item(self, ids: np.ndarray, number: int) -> Item:
        return Item(f"{self.path.name}:{number}", (ids,), (1,), ((len(ids),),))

    def _parts(self) -> Iterator[np.ndarray]:
        if self.unit == "words":
            for words in self._split():
                yield np.array([self.words[w] for w in words], np.int64)
            return
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield np.frombuffer(chunk, np.uint8).astype(np.int64)

    def _number(self) -> int:
        count = 0
        for words in self._split():
            count += len(words)
            for word in words:
                self.words.setdefault(word, len(self.words))
        return count

    def _split(self) -> Iterator[list[bytes]]:
        """Words of one chunk after the other; one that a chunk's edge cuts is put together again."""
        left = b""
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                words = (left + chunk).split()
                left = b"" if chunk[-1:].isspace() or not words else words.pop()
                yield words
        yield left.split()


#: What statistics are taken of.
Source = CorpusSource | TextSource


@dataclass
class Sample:
    """Items evenly spread over a source, with at most `SAMPLE_IDS` ids.

    Attributes:
        source: where they are from.
        items: they.
    """

    source: Source
    items: list[Item] = field(default_factory=list)
    room: int = SAMPLE_IDS

    def __post_init__(self) -> None:
        self.every, self.seen = max(1, -(-self.source.total_ids // self.room)), 0

    def add(self, item: Item) -> None:
        """Keep the item if it is one of those that are sampled and there is room; a sequence longer than all room is cut."""
        wanted, self.seen = self.seen % self.every == 0, self.seen + 1
        count = sum(len(x) for x in item.ids)
        if not count or not wanted:
            return
        if not self.items and count > self.room and all(len(g) == 1 for g in item.grids):
            item = item.cut(max(1, self.room // len(item.ids)))
            count = sum(len(x) for x in item.ids)
        if count <= self.room:
            self.items.append(item)
            self.room -= count

    def book(self, book: int) -> list[np.ndarray]:
        """Ids of one codebook, `[L_k]` for each item."""
        return [item.ids[book] for item in self.items]


def walk(source: Source, *, progress: bool = False) -> Iterator[Item]:
    """All items of a source, with a progress bar."""
    with Bar(source.items, f"reading {source.name}", show=progress) as bar:
        for item in source:
            yield item
            bar.step()
