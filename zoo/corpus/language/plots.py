"""Curves of the statistics as PNG files: ranks, growth, entropies, neighbours."""

from pathlib import Path

import numpy as np
import torch

from ....train.drawing import Line, lines
from ...media_out import write_image
from .figures import BookFigures
from .report import COLUMNS, Language

_Curves = list[tuple[str, dict[str, Line]]]


def write_plots(found: Language, folder: str | Path) -> list[Path]:
    """Write `ranks.png`, `growth.png`, `entropies.png` and `neighbours.png` into a folder, made if missing.

    Drawn are the first codebooks, as many as the table has columns for, and the text; no entropies that are marked as too low. Returns
    the files; one without any curve is not written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    books = {f"codebook {b.name}": b for b in found.corpus.books[:COLUMNS]}
    if found.text is not None:
        books[found.text.name] = found.text.books[0]
    drawings = {
        "ranks": ("log10 of the rank", [("log10 of the share of ids", {n: _ranks(b) for n, b in books.items()})]),
        "growth": ("log10 of the ids", [("log10 of different ids", {n: _logs(b.growth) for n, b in books.items()})]),
        "entropies": ("ids before that are given", [("entropy, bits an id", {n: _entropies(b) for n, b in books.items()})]),
        "neighbours": ("positions apart", _neighbours(books)),
    }
    out = []
    for name, (x, panels) in drawings.items():
        kept = [(title, {n: line for n, line in curves.items() if len(line.x)}) for title, curves in panels]
        kept = [(title, curves) for title, curves in kept if curves]
        if kept:
            out.append(folder / f"{name}.png")
            drawn = lines(kept, x=x, columns=2, size=(300, 480), marks=True)  # [H, W, 3]
            write_image(out[-1], torch.from_numpy(drawn.copy()).permute(2, 0, 1))
    return out


def _logs(points: list[tuple[int, int]]) -> Line:
    places = np.array(points, np.float64).reshape(-1, 2)
    return Line(np.log10(places[:, 0]), np.log10(places[:, 1]))


def _ranks(book: BookFigures) -> Line:
    line = _logs(book.ranks)
    return Line(line.x, line.y - np.log10(max(1, book.ids)))


def _entropies(book: BookFigures) -> Line:
    """H1, H2, H3 along the item, without those that too few ids make too low."""
    own = ("H1", "H2 given the id before", "H3 given the two ids before")
    found = {i: v for i, name in enumerate(own) for n, v in book.entropies.items() if n.startswith(name) and not v.thin}
    return Line(np.array(list(found), np.float64), np.array([v.bits for v in found.values()], np.float64))


def _neighbours(books: dict[str, BookFigures]) -> _Curves:
    directions = list(dict.fromkeys(d for b in books.values() for d in b.neighbours))
    return [(f"mutual information {d}", {n: _mutual(b, d) for n, b in books.items()}) for d in directions]


def _mutual(book: BookFigures, direction: str) -> Line:
    found = book.neighbours.get(direction, {})
    return Line(np.array(list(found), np.float64), np.array([m.bits for m in found.values()], np.float64))
