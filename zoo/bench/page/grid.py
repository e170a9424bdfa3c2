"""A sortable table of the page: heads of columns with unit and the better way, a head for each row, missing values that stay last."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..table import number
from .markup import Html, join, tag

_ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}", "": ""}
_WORDS = {"higher": "higher is better", "lower": "lower is better", "": ""}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        name, unit: in its head.
        better: "higher", "lower" or "", of numbers.
        text: it holds words, sorted as such.
        long: its words may be wrapped.
        group: name of the group that a box shows and hides; "": always shown.
    """

    name: str
    unit: str = ""
    better: str = ""
    text: bool = False
    long: bool = False
    group: str = ""


#: A cell: words, markup, or a number; None where there is no value.
Cell = str | Html | float | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row: a cell for each column; `kind` is its class, and rows of the kind "reference" do not count for the best value."""

    cells: Sequence[Cell]
    kind: str = ""


def grid(
    columns: Sequence[Column], lines: Sequence[Line], *, caption: str, name: str, best: bool = False, by: str = ""
) -> Html:
    """The table in a frame that scrolls.

    Args:
        columns: the first holds the heads of the rows.
        lines: its rows.
        caption: what the table is about.
        name: id of the table, unique in the page.
        best: mark the best value of each column.
        by: name of the column of numbers by which the rows are sorted, lowest first; "": they stay as they are.
    """
    if by:
        place = [c.name for c in columns].index(by)
        values = [line.cells[place] for line in lines]
        order = sorted(range(len(lines)), key=lambda i: (values[i] is None, values[i] or 0))
        lines = [lines[i] for i in order]
    counted = [line for line in lines if line.kind != "reference"] if best else []
    marked = [_best([line.cells[i] for line in counted], c.better) for i, c in enumerate(columns)]
    rows = []
    for line in lines:
        cells = [_cell(c, cell, mark, head=i == 0) for i, (c, cell, mark) in enumerate(zip(columns, line.cells, marked, strict=True))]
        rows.append(tag("tr", *cells, class_=line.kind or None))
    head = tag("thead", tag("tr", *(_head(c, sorted_by=bool(by) and c.name == by) for c in columns)))
    made = tag("table", tag("caption", caption), head, tag("tbody", *rows), class_="sorts", id=name)
    return tag("div", made, class_="wide", tabindex=0, role="region", aria_label=caption)


def groups(columns: Sequence[Column], name: str, shown: Sequence[str]) -> Html:
    """Boxes that show and hide the groups of a table's columns; `shown` are those that are shown at first."""
    every = dict.fromkeys(c.group for c in columns if c.group)
    found = sorted(every, key=lambda g: g not in shown)
    boxes = [
        tag("label", tag("input", type="checkbox", data_group=g, data_table=name, checked=g in shown), " " + g) for g in found
    ]
    return tag("fieldset", tag("legend", "columns:"), *boxes) if len(found) > 1 else Html("")


def search(filters: str, words: str) -> Html:
    """A field that hides what does not hold its words; `filters` is a selector, `words` say what it searches."""
    return tag("input", type="search", placeholder=words, aria_label=words, data_filters=filters)


def _head(column: Column, *, sorted_by: bool) -> Html:
    words = join([column.name, f" {_ARROWS[column.better]}" if column.better else ""])
    unit = tag("small", column.unit) if column.unit else Html("")
    return tag(
        "th", tag("button", words, type="button", title=_WORDS[column.better] or None), unit, scope="col",
        class_="text" if column.text else None, data_text=column.text, data_better=column.better or None, data_in=column.group or None,
        aria_sort="ascending" if sorted_by else None,
    )  # fmt: skip


def _cell(column: Column, cell: Cell, best: float | None, *, head: bool) -> Html:
    if isinstance(cell, (int, float)):
        kind = "best" if best is not None and cell == best else None
        return tag("td", number(cell), class_=kind, data_v=repr(cell), data_in=column.group or None)
    if cell is None:
        return tag("td", "\N{EN DASH}", class_="none", data_v="", data_in=column.group or None)
    if head:
        return tag("th", cell, scope="row", class_="text")
    kind = "long" if column.long else "text" if column.text else None
    return tag("td", cell, class_=kind, data_in=column.group or None)


def _best(cells: Sequence[Cell], better: str) -> float | None:
    """The best of several values; None where there is only one, or all are alike, or no way is better."""
    values = {c for c in cells if isinstance(c, (int, float))}
    if len(values) < 2 or not better:
        return None
    return max(values) if better == "higher" else min(values)
