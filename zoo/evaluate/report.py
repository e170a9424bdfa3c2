"""The result of an evaluation: as an object, as JSON, as a table."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from ..tables import counted, table

#: Figure -> its unit, and whether higher or lower values are better. Names carry the unit too, as cards do.
DIRECTIONS: dict[str, tuple[str, Literal["higher", "lower"]]] = {
    "mel distance": ("natural log of magnitude", "lower"),
    "STFT distance": ("magnitude + log10 of magnitude", "lower"),
    "SI-SDR dB": ("dB", "higher"),
    "PESQ-WB": ("MOS-LQO, 1 to 4.64", "higher"),
    "STOI": ("0 to 1", "higher"),
    "PSNR dB": ("dB", "higher"),
    "SSIM": ("-1 to 1", "higher"),
    "LPIPS (VGG)": ("0 up", "lower"),
    "LPIPS-HED": ("0 up", "lower"),
    "rFID": ("0 up", "lower"),
    "kbit/s": ("kbit/s", "lower"),
    "bits a pixel": ("bit/pixel", "lower"),
}
_ARROWS = {"higher": "↑ higher", "lower": "↓ lower"}
#: Fewer tokens than this many times V are too few to estimate how many of the V ids are used.
ENOUGH = 10


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured.

    Attributes:
        model: name or source of the tokenizer.
        data: what it was measured on.
        items: number of media.
        metrics: name with unit -> mean over items (rFID: over the set).
        measured: name -> items that its mean is of.
        left_out: (name, why, files): what could not be measured on some items.
        tokens: bits a pixel or kbit/s, tokens that were counted, and per codebook usage, perplexity and entropy in bits.
        vocab_sizes: V of each codebook.
        failed: file -> why it could not be used.
        notes: metrics that were left out as a whole, and why; which of two variants of a metric was used.
        versions: library versions.
    """

    model: str
    data: str
    items: int
    metrics: dict[str, float]
    tokens: dict[str, float | list[float]]
    measured: dict[str, int] = field(default_factory=dict)
    left_out: list[tuple[str, str, list[str]]] = field(default_factory=list)
    vocab_sizes: tuple[int, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For programs: every figure with its unit, its direction and the items it is of; no NaN."""
        metrics = {
            n: {"mean": _finite(v), **_about(n), "items": self.measured.get(n, self.items)} for n, v in self.metrics.items()
        }
        rates = {n: {"value": _finite(v), **_about(n)} for n, v in self.tokens.items() if n in DIRECTIONS}
        lists = {n: v for n, v in self.tokens.items() if isinstance(v, list)}
        books = [
            {"vocab_size": size, "enough_tokens": self.enough(size)} | {n.replace(" ", "_"): v[k] for n, v in lists.items()}
            for k, size in enumerate(self.vocab_sizes)
        ]
        return {
            "model": self.model,
            "data": self.data,
            "items": self.items,
            "metrics": metrics,
            "rate": rates,
            "tokens_counted": self.counted,
            "codebooks": books,
            "left_out": [{"metric": n, "why": why, "items": len(files), "files": files} for n, why, files in self.left_out],
            "failed": self.failed,
            "notes": self.notes,
            "versions": self.versions,
        }

    @property
    def counted(self) -> int:
        """Tokens of each codebook that were counted."""
        found = self.tokens.get("tokens counted", 0)
        return int(found) if not isinstance(found, list) else 0

    def enough(self, vocab_size: int) -> bool:
        """True if enough tokens were counted to estimate how many ids of a codebook are used."""
        return self.counted >= ENOUGH * vocab_size


def report_text(report: Report) -> str:
    """The report for people; lines are as long as they need to be."""
    parts = [f"{report.model}: {counted(report.items, 'item')} of {report.data}"]
    figures = {**report.metrics, **{n: v for n, v in report.tokens.items() if not isinstance(v, list) and n in DIRECTIONS}}
    rows = [[n, f"{v:.4g}", _arrow(n), str(report.measured.get(n, report.items))] for n, v in figures.items()]
    if report.items:
        parts.append(table(["figure", "mean", "better", "items"], rows, right={1, 3}))
        parts.append(_books(report))
    notes = [f"note: {n}" for n in report.notes]
    total = counted(report.items, "item")
    notes += [f"note: {len(files)} of {total} {why} for {name}: {_some(files)}" for name, why, files in report.left_out]
    few = sorted({v for v in report.vocab_sizes if not report.enough(v)})
    if few and report.items:
        need = f"{ENOUGH} x V = {ENOUGH * few[-1]:,}"
        notes.append(f"note: usage, perplexity and entropy need more tokens: {need} a codebook, {report.counted:,} were counted")
    notes += [f"failed: {file}: {reason}" for file, reason in report.failed.items()]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def print_report(report: Report) -> None:
    """Print `report_text`."""
    print(report_text(report))


def _books(report: Report) -> str:
    lists = {n: v for n, v in report.tokens.items() if isinstance(v, list)}
    sizes = report.vocab_sizes or tuple(0 for _ in next(iter(lists.values())))
    rows = []
    for k, size in enumerate(sizes):
        few = "" if report.enough(size) else " (needs more tokens)"
        rows.append([str(k), str(size), *(f"{v[k]:.4g}{few if n == 'usage' else ''}" for n, v in lists.items())])
    return table(["codebook", "V", *lists], rows, right={0, 1})


def _some(files: list[str]) -> str:
    """The first names of a list; JSON has all."""
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _arrow(name: str) -> str:
    return _ARROWS[DIRECTIONS[name][1]] if name in DIRECTIONS else ""


def _about(name: str) -> dict[str, str]:
    unit, better = DIRECTIONS.get(name, ("", ""))
    return {"unit": unit, "better": better}


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
