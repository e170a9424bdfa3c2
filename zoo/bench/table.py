"""The table of a bench: one row for each tokenizer and setting, as text, CSV and Markdown; lists of what failed and of notes."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evaluate.report import DIRECTIONS
from ..tables import counted, table

#: Columns of cost: name in results -> (unit, which is better).
COST: dict[str, tuple[str, str]] = {
    "parameters": ("million", "lower"),
    "encoder parameters": ("million", "lower"),
    "decoder parameters": ("million", "lower"),
    "encode GFLOPs a second": ("10^9 operations", "lower"),
    "decode GFLOPs a second": ("10^9 operations", "lower"),
    "encode GFLOPs a megapixel": ("10^9 operations", "lower"),
    "decode GFLOPs a megapixel": ("10^9 operations", "lower"),
    "encode s": ("s", "lower"),
    "decode s": ("s", "lower"),
    "encode x real time": ("seconds of sound a second", "higher"),
    "decode x real time": ("seconds of sound a second", "higher"),
    "encode pictures/s": ("1/s", "higher"),
    "decode pictures/s": ("1/s", "higher"),
    "peak MiB": ("MiB", "lower"),
}
#: Columns of codebooks, means over them.
BOOKS: dict[str, tuple[str, str]] = {
    "usage": ("share of ids that occur", "higher"),
    "perplexity": ("ids", "higher"),
    "entropy bits": ("bit", "higher"),
    "bits at a position": ("bit", "higher"),
}
_RATES = ("kbit/s", "kbit/s, coded", "tokens a second", "bits a pixel", "bits a pixel, coded", "tokens a megapixel", "tokens a frame")
#: Column -> (unit, which is better): rates first, then quality, codebooks and cost.
COLUMNS: dict[str, tuple[str, str]] = (
    {n: DIRECTIONS[n] for n in _RATES}
    | {n: about for n, about in DIRECTIONS.items() if n not in _RATES}
    | BOOKS
    | COST
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row: a tokenizer or a classical codec with one setting.

    Attributes:
        tokenizer, setting: names; "" are the defaults.
        values: column -> value, of those that were measured.
        books: the codebooks, as "7 x 1024".
        items: number of items that were measured.
        error: why there are no values; "" where there are.
        reference: True for a classical codec.
        perturbed: True where wrong ids were decoded.
    """

    tokenizer: str
    setting: str
    values: Mapping[str, float]
    books: str = ""
    items: int = 0
    error: str = ""
    reference: bool = False
    perturbed: bool = False

    @property
    def label(self) -> str:
        """Name and setting in one."""
        return f"{self.tokenizer} {self.setting}".strip()


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """All rows of all results, in order; the cost stands in the row of the defaults."""
    out = []
    for result in results:
        for row in result["rows"]:
            own = {n: v for n, v in row.get("figures", {}).items() if v is not None}
            books = row.get("codebooks", [])
            for name in BOOKS:
                values = [b[name.replace(" ", "_")] for b in books if name.replace(" ", "_") in b]
                own |= {name: sum(values) / len(values)} if values else {}
            own |= {} if row["setting"] else result.get("cost", {})
            reference = bool(result.get("reference"))
            sizes, items, error = _sizes([b["vocab_size"] for b in books]), row.get("items", 0), row.get("error", "")
            wrong = row.get("perturbed", False)
            out.append(Row(result["name"], row["setting"], own, sizes, items, error=error, reference=reference, perturbed=wrong))
    return out


def _sizes(sizes: Sequence[int]) -> str:
    """K x V, or the sum of all where they differ."""
    if not sizes:
        return ""
    return f"{len(sizes)} x {sizes[0]}" if len(set(sizes)) == 1 else f"{len(sizes)} books, {sum(sizes)} ids"


def columns_of(rows: Sequence[Row], some: Mapping[str, Any] = COLUMNS) -> list[str]:
    """Those columns that at least one row has a value of, in order."""
    return [name for name in some if any(name in row.values for row in rows)]


def number(value: float | None) -> str:
    """A value as it is shown: four digits; "" for none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def text(head: Mapping[str, Any], results: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> str:
    """The tables for a terminal: quality and rate, codebooks, cost; then what failed and the notes."""
    rows = rows_of(results)
    parts = [head_line(head)]
    for title, some in _groups(rows):
        shown = [r for r in rows if any(n in r.values for n in some)]
        books = {"codebooks": True}.get(title, False)
        names = ["tokenizer", "setting", *(["K x V"] if books else []), *(_headed(n) for n in some)]
        cells = [[r.tokenizer, r.setting, *([r.books] if books else []), *(number(r.values.get(n)) for n in some)] for r in shown]
        parts.append(f"{title}\n" + table(names, cells, right=set(range(3 if books else 2, len(names)))))
    if lines := [*failures(results, failed), *(f"note: {note}" for note in notes(results))]:
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    quality = {n: v for n, v in COLUMNS.items() if n in DIRECTIONS}
    groups = [("rate and quality", quality), ("codebooks", BOOKS), ("cost", COST)]
    return [(title, found) for title, some in groups if (found := columns_of(rows, some))]


def _headed(name: str) -> str:
    return name + {"higher": " ↑", "lower": " ↓"}[COLUMNS[name][1]]


def head_line(head: Mapping[str, Any]) -> str:
    """What the table is about: set, device, dtype, date, on one line."""
    corpus = head.get("corpus", {})
    about = f"{counted(corpus.get('items', 0), 'item')} of {head['data']}, sha256 {corpus.get('sha256', '')[:12]}"
    return f"{about}; {head.get('device', '')}, {head.get('dtype', '')}, {head.get('threads', '?')} threads, {head['date']}"


def failures(results: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> list[str]:
    """Tokenizers, settings and items that failed, a line each."""
    lines = [f"failed: {name}: {reason}" for name, reason in failed.items()]
    items: dict[str, int] = {}
    rows = 0
    for result in results:
        for row in result["rows"]:
            name = f"{result['name']} {row['setting']}".strip()
            rows += 1
            lines += [f"failed: {name}: {row['error']}"] if row.get("error") else []
            for file, reason in row.get("failed", {}).items() if not row.get("error") else ():
                items[f"{file}: {reason}"] = items.get(f"{file}: {reason}", 0) + 1
    return lines + [f"failed: {item}" + (f" (in {n} of {rows} rows)" if n < rows else "") for item, n in items.items()]


def notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Notes of all results, each once; notes about one alone with its name."""
    every: dict[str, list[str]] = {}
    for result in results:
        own = [*result.get("notes", ()), *(n for row in result["rows"] for n in row.get("notes", ()))]
        for row in result["rows"]:
            own += [f"{counted(m['items'], 'item')} {m['why']} for {m['metric']}" for m in row.get("left_out", ())]
        for note in dict.fromkeys(own):
            every.setdefault(note, []).append(result["name"])
    return [n if len(names) == len(results) or len(results) < 2 else f"{', '.join(names)}: {n}" for n, names in every.items()]


def as_csv(results: Sequence[Mapping[str, Any]]) -> str:
    """All columns of all rows; units are in the names, missing values are empty."""
    rows = rows_of(results)
    names = columns_of(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["tokenizer", "setting", "reference", "codebooks", "items", "error", *names])
    for r in rows:
        writer.writerow([r.tokenizer, r.setting, r.reference, r.books, r.items, r.error, *(r.values.get(n, "") for n in names)])
    return out.getvalue()


def as_markdown(head: Mapping[str, Any], results: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> str:
    """A page with the same tables, the facts of the run, failures and notes."""
    rows = rows_of(results)
    lines = [f"# Bench of {head['modality'] or 'no'} tokenizers", "", *(f"- {name}: {fact}" for name, fact in facts(head).items()), ""]
    for title, some in _groups(rows):
        shown = [r for r in rows if any(n in r.values for n in some)]
        names = ["tokenizer", "setting", *(_headed(n) for n in some)]
        lines += [f"## {title.capitalize()}", "", f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
        lines += [f"| {_cell(r.tokenizer)} | {_cell(r.setting)} | {' | '.join(number(r.values.get(n)) for n in some)} |" for r in shown]
        lines.append("")
    if more := [*failures(results, failed), *notes(results)]:
        lines += ["## Failures and notes", "", *(f"- {_cell(line)}" for line in more), ""]
    return "\n".join(lines)


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def facts(head: Mapping[str, Any]) -> dict[str, str]:
    """Set, command, device, dtype, versions: what must stand beside every figure."""
    corpus = head.get("corpus", {})
    versions = ", ".join(f"{p} {v}" for p, v in head.get("versions", {}).items())
    size = f"{counted(corpus.get('items', 0), 'item')}, {corpus.get('bytes', 0):,} bytes"
    return {
        "command": f"`{head['command']}`",
        "date": head["date"],
        "set": f"{head['data']}: {size}, sha256 of names and sizes {corpus.get('sha256', '')}",
        "device": f"{head.get('device', '')}; {head.get('threads', '?')} threads; batch 1; load average before {head.get('load', '?')}",
        "dtype": head.get("dtype", ""),
        "versions": versions,
    }
