"""The result of an evaluation: as an object, as JSON, as a table."""

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured.

    Attributes:
        model: name or source of the tokenizer.
        data: what it was measured on.
        items: number of media.
        metrics: name with unit -> mean over items (rFID: over the set).
        tokens: bits, bits a pixel or kbit/s, and per codebook usage, perplexity and entropy in bits.
        failed: file -> why it could not be used.
        notes: metrics that were left out, and why; which of two variants of a metric was used.
        versions: library versions.
    """

    model: str
    data: str
    items: int
    metrics: dict[str, float]
    tokens: dict[str, float | list[float]]
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n")


def print_report(report: Report) -> None:
    """Print the report as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 118)
    table = Table("metric", "mean", title=f"{report.model} on {report.items} items of {report.data}", title_justify="left")
    for name, value in report.metrics.items():
        table.add_row(name, f"{value:.4g}")
    for name, value in report.tokens.items():
        if not isinstance(value, list):
            table.add_row(name, f"{value:.4g}")
    console.print(table)
    lists = {n: v for n, v in report.tokens.items() if isinstance(v, list)}
    if lists:
        books = Table("codebook", *lists)
        for k in range(len(next(iter(lists.values())))):
            books.add_row(str(k), *(f"{v[k]:.4g}" for v in lists.values()))
        console.print(books)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    for file, reason in report.failed.items():
        console.print(f"failed: {file}: {reason}", markup=False)
