"""`language`: all statistics of one corpus, beside another corpus and a text, as a table for people and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...progress import Bar
from ...tables import table
from ..files import CorpusError
from .counting import Conditional, Mutual
from .drift import drift
from .figures import BookFigures, SourceFigures, figures
from .growth import Fit, Growth
from .ngram import held_out, parts
from .sources import CorpusSource, Sample, Source, TextSource, walk

#: Codebooks with a column of their own in the table; JSON has all.
COLUMNS = 8
#: Distances with a row of their own in the table; JSON has all.
_SHOWN = (1, 2, 4, 8, 16, 32)


@dataclass(kw_only=True)
class Language:
    """Statistics of a corpus as a language.

    Attributes:
        corpus: its figures.
        text: those of a text, or None.
        against: name of the other corpus, or None.
        lm: bits and perplexity of a language model, see `small_lm.py`; empty without one.
    """

    corpus: SourceFigures
    text: SourceFigures | None = None
    against: str | None = None
    lm: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        text = None if self.text is None else self.text.as_json()
        return {"corpus": self.corpus.as_json(), "text": text, "against": self.against, "lm": self.lm}

    def table(self) -> str:
        """The figures as text for people."""
        sources = [self.corpus] if self.text is None else [self.corpus, self.text]
        columns = [column for source in sources for column in _columns(source)]
        names = _merged([list(cells) for _, cells in columns])
        lines = [[name, *(_text(cells.get(name)) for _, cells in columns)] for name in names]
        header = [f"bits an id, by codebook of {self.corpus.modality} tokens", *(head for head, _ in columns)]
        out = [table(header, lines, right=range(1, len(header)))]
        if self.corpus.codebooks:
            out.append(_pairs(self.corpus))
        out += [f"language model, {name}: {f['bits']:.3f} bits an id, perplexity {f['perplexity']:.1f}" for name, f in self.lm.items()]
        notes = [
            f"{s.name}: {s.items:,} items, of which {s.sampled_items:,} gave what needs contexts, compressors and neighbours."
            for s in sources
        ]
        if any("*" in cell for line in lines for cell in line):
            notes.append("*: too few ids for that number of contexts, so the true entropy is higher.")
        return "\n\n".join([*out, "\n".join(notes)])


def language(
    folder: str | Path,
    *,
    against: str | Path | None = None,
    text: str | Path | None = None,
    text_unit: str = "bytes",
    lm: str | Path | None = None,
    limit: int = 0,
    progress: bool = False,
) -> Language:
    """Take the statistics of a corpus.

    Items are read once, one at a time; kept are counts of ids and a sample of at most `sources.SAMPLE_IDS` ids.

    Args:
        folder: of a finished corpus.
        against: folder of another corpus by the same tokenizer: for drift, and perplexity out of domain.
        text: file whose figures stand beside those of the corpus.
        text_unit: "bytes" or "words".
        lm: output folder of a run of `tokenzoo lm` on this corpus.
        limit: only the first items of each, this many; 0: all.
        progress: show a progress bar.

    Raises:
        CorpusError: no finished corpus, one without ids, or another tokenizer's.
        ValueError: no such text, or another unit.
    """
    source = CorpusSource(folder, limit=limit)
    other = None if against is None else CorpusSource(against, limit=limit)
    if other is not None and (other.tokenizer, other.vocab_sizes) != (source.tokenizer, source.vocab_sizes):
        raise CorpusError(f"{folder} and {against} hold ids of different tokenizers; only ids of one can be compared.")
    words = None if text is None else TextSource(text, unit=text_unit, limit=limit)
    sample, found = _figures(source, progress=progress)
    if other is not None:
        far = Sample(other)
        for item in walk(other, progress=progress):
            far.add(item)
        _compare(found, sample, far)
    beside = None if words is None else _figures(words, progress=progress)[1]
    perplexities = {}
    if lm is not None:
        from .small_lm import lm_perplexity  # transformers, which the rest does without

        perplexities = lm_perplexity(lm, folder, against)
    return Language(corpus=found, text=beside, against=None if against is None else str(against), lm=perplexities)


def _figures(source: Source, *, progress: bool) -> tuple[Sample, SourceFigures]:
    """A sample of a source, and its figures."""
    sample, growths = Sample(source), [Growth() for _ in source.vocab_sizes]
    for item in walk(source, progress=progress):
        sample.add(item)
        for growth, ids in zip(growths, item.ids, strict=True):
            growth.add(ids)
    if not sample.items:
        raise CorpusError(f"{source.name} holds no ids to take statistics of.")
    with Bar(len(growths), "codebooks", show=progress) as bar:
        return sample, figures(sample, growths, step=bar.step)


def _compare(found: SourceFigures, sample: Sample, far: Sample) -> None:
    """Add drift and perplexity out of domain to the figures of each codebook."""
    train, test = parts(sample.items)[0], parts(far.items)[1]
    for k, book in enumerate(found.books):
        book.drift = drift(sample.book(k), far.book(k))
        book.ngrams_against = held_out([x.ids[k] for x in train], [x.ids[k] for x in test], book.vocab_size)


# --- the table --------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A number, the digits behind its point, and a mark."""

    value: float
    digits: int = 2
    mark: str = ""


def _text(cell: Cell | None) -> str:
    """The cell in print; what rounds to 0 has no sign."""
    return "" if cell is None else f"{round(cell.value, cell.digits) + 0.0:,.{cell.digits}f}{cell.mark}"


def _merged(lists: Sequence[list[str]]) -> list[str]:
    """All names, once each: those that a list has alone follow the name before them in it."""
    out: list[str] = []
    for names in lists:
        place = 0
        for name in names:
            if name not in out:
                out.insert(place, name)
            place = out.index(name) + 1
    return out


def _columns(source: SourceFigures) -> list[tuple[str, dict[str, Cell]]]:
    """Head and cells of each column: the first codebooks, and the mean of all if there are several."""
    cells = [_cells(book) for book in source.books]
    heads = [source.name if source.modality == "text" else book.name for book in source.books]
    columns = list(zip(heads, cells, strict=True))[:COLUMNS]
    return [*columns, ("mean", _mean(cells, [b.ids for b in source.books]))] if len(cells) > 1 else columns


def _mean(cells: Sequence[dict[str, Cell]], ids: Sequence[int]) -> dict[str, Cell]:
    """Means over the codebooks that have a figure, weighted by their ids."""
    out = {}
    for name in dict.fromkeys(name for own in cells for name in own):
        there = [(own[name], n) for own, n in zip(cells, ids, strict=True) if name in own]
        whole = max(1, sum(n for _, n in there))
        marks = max(cell.mark for cell, _ in there)
        out[name] = Cell(sum(cell.value * n for cell, n in there) / whole, there[0][0].digits, marks)
    return out


def _cells(book: BookFigures) -> dict[str, Cell]:
    """The rows of the table that one codebook has, in their order."""
    out = {"ids": Cell(book.ids, 0), "different ids": Cell(book.distinct, 0), "log2 V": Cell(book.full_bits)}
    out |= {name: _entropy(value) for name, value in book.entropies.items()}
    out |= {"Huffman": Cell(book.huffman_bits), "LZMA": Cell(book.lzma_bits), "PPM of order 2": Cell(book.ppm_bits)}
    for where, grams in (("held-out items", book.ngrams), ("items of the other corpus", book.ngrams_against)):
        out |= {f"{n}-gram on {where}": Cell(g.bits) for n, g in grams.items()}
        out |= {f"perplexity of {n}-grams on {where}": Cell(g.perplexity, 1) for n, g in list(grams.items())[-1:]}
    uses = {"capacity use, H1 / log2 V": book.capacity_use, "entropy rate (best of the above) / log2 V": book.rate_use}
    out |= {name: Cell(value, 3) for name, value in uses.items() if value is not None}
    out |= _fit("Zipf exponent", book.zipf) | _fit("Heaps exponent", book.heaps)
    out |= {"new ids an item": Cell(book.innovation), "new ids an item, later half": Cell(book.innovation_late, 3)}
    for direction, values in book.neighbours.items():
        shown = {d: m for d, m in values.items() if d in _SHOWN}
        out |= {f"mutual information {direction}, {d} apart": Cell(m.bits, 3) for d, m in shown.items()}
    if book.drift is not None:
        d = book.drift
        out |= {"drift of ids (JSD)": Cell(d.unigram_bits, 4), "drift of ids by chance": Cell(d.unigram_by_chance, 4)}
        out |= {"drift of pairs (JSD)": Cell(d.bigram_bits, 4), "drift of pairs by chance": Cell(d.bigram_by_chance, 4)}
    return out


def _entropy(found: Conditional) -> Cell:
    return Cell(found.bits, 2, "*" if found.thin else "")


def _fit(name: str, fit: Fit | None) -> dict[str, Cell]:
    return {} if fit is None else {name: Cell(fit.exponent), f"{name}, error of the fit": Cell(fit.error, 3)}


def _pairs(source: SourceFigures) -> str:
    """Mutual information of pairs of codebooks as a triangle."""
    names = [book.name for book in source.books][:COLUMNS]

    def cell(j: int, k: int) -> str:
        found: Mutual | None = source.codebooks.get(f"{j}, {k}")
        return "" if found is None else f"{found.bits:.3f}"

    rows = [[names[k], *(cell(j, k) for j in range(len(names) - 1))] for k in range(1, len(names))]
    return table(["mutual information of codebooks", *names[:-1]], rows, right=range(1, len(names)))
