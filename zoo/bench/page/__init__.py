"""The pages of a bench: `bench.html` of one, and a folder with a page of several, their media, published figures and cards.

Both open from disk without a network, and are made of the same parts: `markup.py` escapes, `grid.py` makes tables.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .markup import document, join, tag
from .measured import section
from .site import write

__all__ = ["html", "write"]


def html(head: Mapping[str, Any], results: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> str:
    """The page of one bench: its table, plots, method, failures and notes, in one file.

    Args:
        head, results, failed: of a `Bench`.
    """
    title = f"Bench of {head['modality'] or 'no'} tokenizers"
    return document(title, join([tag("header", tag("h1", title)), tag("main", section(head, results, failed, name="measured"))]))
