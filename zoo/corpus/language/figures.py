"""The figures of one codebook, and of one source: a corpus or a text. Letters: V codebook size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .compressors import huffman_bits, lzma_bits
from .counting import Conditional, Mutual
from .drift import Drift
from .growth import Fit, Growth, spaced, zipf
from .neighbours import of_codebooks, over_distance
from .ngram import HeldOut, held_out, parts
from .orders import entropies
from .ppm import ppm_bits
from .sources import Sample


@dataclass(kw_only=True)
class BookFigures:
    """One codebook.

    Attributes:
        name: of the codebook.
        vocab_size: V.
        ids, distinct: of all items.
        sampled: ids of the sample; what follows `innovation_late` is taken from it.
        zipf, heaps: see `growth.py`; None: too few different ids.
        ranks: (rank, occurrences); growth: (ids, different ones): points of both curves.
        innovation, innovation_late: new ids an item, over all items and over the later half.
        entropies: by what is given, see `orders.py`.
        huffman_bits, lzma_bits, ppm_bits: an id.
        ngrams: by n, on held-out items; empty: the split left no items on one side.
        ngrams_against: the same model on the held-out items of another corpus.
        neighbours: by direction and distance, see `neighbours.py`.
        drift: from another corpus.
    """

    name: str
    vocab_size: int
    ids: int
    distinct: int
    sampled: int
    zipf: Fit | None
    heaps: Fit | None
    ranks: list[tuple[int, int]]
    growth: list[tuple[int, int]]
    innovation: float
    innovation_late: float
    entropies: dict[str, Conditional]
    huffman_bits: float
    lzma_bits: float
    ppm_bits: float
    ngrams: dict[int, HeldOut]
    neighbours: dict[str, dict[int, Mutual]]
    ngrams_against: dict[int, HeldOut] = field(default_factory=dict)
    drift: Drift | None = None

    @property
    def full_bits(self) -> float:
        """log2 V, what an id could say at most."""
        return math.log2(self.vocab_size)

    @property
    def capacity_use(self) -> float | None:
        """H1 / log2 V; None of a codebook of one id."""
        return self.entropies["H1"].bits / self.full_bits if self.full_bits else None

    @property
    def rate_bits(self) -> float:
        """The least bits an id that PPM, LZMA or a held-out n-gram needed: the entropy rate along an item is at most that."""
        return min(self.ppm_bits, self.lzma_bits, *(n.bits for n in self.ngrams.values()))

    @property
    def rate_use(self) -> float | None:
        """`rate_bits` / log2 V; None of a codebook of one id."""
        return self.rate_bits / self.full_bits if self.full_bits else None

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        own = {n: getattr(self, n) for n in ("full_bits", "capacity_use", "rate_bits", "rate_use")}
        return asdict(self) | own


@dataclass(kw_only=True)
class SourceFigures:
    """One source.

    Attributes:
        name: of the folder or file.
        modality: "image", "audio" or "text".
        order: what the order of ids along an item is called.
        items: all that were read; sampled_items: those of the sample.
        books: figures of each codebook.
        codebooks: mutual information of pairs of codebooks.
    """

    name: str
    modality: str
    order: str
    items: int
    sampled_items: int
    books: list[BookFigures]
    codebooks: dict[str, Mutual]

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        own = {n: getattr(self, n) for n in ("name", "modality", "order", "items", "sampled_items")}
        return own | {"books": [b.as_json() for b in self.books], "codebooks": {n: asdict(m) for n, m in self.codebooks.items()}}


def figures(sample: Sample, growths: Sequence[Growth], *, step: Callable[[], None] = lambda: None) -> SourceFigures:
    """Figures of a source.

    Args:
        sample: of its items.
        growths: counts of all of its items, one for each codebook.
        step: called after each codebook.
    """
    source, books = sample.source, []
    for k, growth in enumerate(growths):
        books.append(_book(sample, k, growth))
        step()
    return SourceFigures(
        name=source.name, modality=source.modality, order=source.order, items=source.items, sampled_items=len(sample.items),
        books=books, codebooks=of_codebooks(sample.items, len(growths)),
    )  # fmt: skip


def _book(sample: Sample, k: int, growth: Growth) -> BookFigures:
    vocab, own, ranked = sample.source.vocab_sizes[k], sample.book(k), growth.ranked()
    train, test = parts(sample.items)
    new, late = growth.innovation()
    return BookFigures(
        name=sample.source.books[k], vocab_size=vocab, ids=growth.ids, distinct=len(ranked), sampled=sum(map(len, own)),
        zipf=zipf(ranked), heaps=growth.heaps(), innovation=new, innovation_late=late, growth=growth.curve,
        ranks=[(int(r), int(ranked[r - 1])) for r in spaced(len(ranked))],
        entropies=entropies(sample.items, k, sample.source.order),
        huffman_bits=huffman_bits(ranked), lzma_bits=lzma_bits(own, vocab), ppm_bits=ppm_bits(own, vocab),
        ngrams=held_out([x.ids[k] for x in train], [x.ids[k] for x in test], vocab),
        neighbours=over_distance(sample.items, k, sample.source.order),
    )  # fmt: skip
