"""What a bench measured, for the page: its table, its plots, and how it was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from .. import plots
from ..table import BOOKS, COLUMNS, COST, Row, columns_of, facts, failures, notes, rows_of
from .grid import Column, Line, grid, groups, search
from .markup import Html, join, tag

#: Colours of curves that can be told from a light and from a dark ground.
COLOURS = ("#2f7de1", "#d9691e", "#2e9e4f", "#b25bc9", "#a07b3b", "#1a9aa5", "#d9467a", "#808790", "#9a9a1e", "#5f86a8")


def section(
    head: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    failed: Mapping[str, str],
    *,
    name: str,
    cards: Mapping[str, str] = {},
) -> Html:
    """Table, plots, method, failures and notes of one bench.

    Args:
        head, results, failed: of a `Bench`.
        name: id of the table, unique in the page.
        cards: tokenizer -> id of the element that describes it, for links.
    """
    parts = [_table(results, name, cards)]
    if drawn := drawings(rows_of(results)):
        parts += [tag("h3", "Rate and quality"), drawn]
    parts += [tag("h3", "How it was measured"), *method(head, results, failed)]
    return join(parts)


def method(head: Mapping[str, Any], results: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> list[Html]:
    """Command, set, device, versions; failures and notes."""
    lines = [*failures(results, failed), *notes(results)]
    rows = [part for key, fact in facts(head).items() if fact for part in (tag("dt", key), tag("dd", _code(fact)))]
    return [tag("dl", *rows), *([tag("ul", *(tag("li", line) for line in lines), class_="plain")] if lines else [])]


def _code(fact: str) -> Html | str:
    return tag("code", fact[1:-1]) if fact.startswith("`") else fact


def _table(results: Sequence[Mapping[str, Any]], name: str, cards: Mapping[str, str]) -> Html:
    rows = rows_of(results)
    columns, lines = grid_of(rows, cards)
    caption = "Bold on a tinted ground: best of the tokenizers. Italic: classical codecs. A click on a column's name sorts."
    tools = tag("div", search(f"#{name} tbody tr", "only rows with ..."), groups(columns, name, ("rate and quality",)), class_="tools")
    return join([tools, grid(columns, lines, caption=caption, name=name, best=True)])


def grid_of(rows: Sequence[Row], cards: Mapping[str, str]) -> tuple[list[Column], list[Line]]:
    """Columns and lines of the table."""
    names = columns_of(rows)
    columns = [
        Column(name="tokenizer", text=True),
        Column(name="setting", text=True),
        Column(name="codebooks", text=True, group="codebooks"),
        Column(name="items"),
        *(Column(name=n, unit=COLUMNS[n][0], better=COLUMNS[n][1], group=_group(n)) for n in names),
    ]
    lines = []
    for r in rows:
        label = tag("a", r.tokenizer, href=f"#{cards[r.tokenizer]}") if r.tokenizer in cards else r.tokenizer
        setting = r.setting + (" (wrong ids)" if r.perturbed else "") if not r.error else f"{r.setting} (failed)"
        cells = [label, setting.strip(), r.books, r.items, *(r.values.get(n) for n in names)]
        lines.append(Line(cells=cells, kind="reference" if r.reference else ""))
    return columns, lines


def _group(column: str) -> str:
    return "codebooks" if column in BOOKS else "cost" if column in COST else "rate and quality"


def drawings(rows: Sequence[Row]) -> Html:
    """A drawing for each metric over the rate, with one legend; "" if the rates do not differ."""
    rate, panels = plots.panels_of(rows)
    names = list(dict.fromkeys(n for _, drawn in panels for n in drawn))
    dashed = {r.tokenizer for r in rows if r.reference}
    colours = {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(names)}
    if not panels:
        return Html("")
    keys = []
    for n in names:
        dash = ' stroke-dasharray="5 4"' if n in dashed else ""
        line = f'<svg viewBox="0 0 36 14" aria-hidden="true"><path d="M0 7h36" stroke="{colours[n]}" stroke-width="2.5"{dash}/>'
        keys.append(tag("li", Html(f'{line}<circle cx="18" cy="7" r="4" fill="{colours[n]}"/></svg>'), n))
    drawn = [Html(plots.panel_svg(metric, lines, rate, colours, dashed=dashed)) for metric, lines in panels]
    return join([tag("ul", *keys, class_="legend"), tag("div", *drawn, class_="plots")])
