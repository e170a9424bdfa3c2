"""The result of an evaluation: an object that can be printed as tables or as JSON."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from ..tables import counted, table

#: Metric -> its unit, and whether higher or lower values are better. Names contain the unit too, as in cards.
DIRECTIONS: dict[str, tuple[str, Literal["higher", "lower"]]] = {
    "mel distance": ("natural log of magnitude", "lower"),
    "STFT distance": ("magnitude + log10 of magnitude", "lower"),
    "SI-SDR dB": ("dB", "higher"),
    "SI-SDR dB, aligned": ("dB", "higher"),
    "PESQ-WB": ("MOS-LQO, 1 to 4.64", "higher"),
    "STOI": ("0 to 1", "higher"),
    "ESTOI": ("0 to 1", "higher"),
    "DistillMOS": ("MOS, 1 to 5", "higher"),
    "speaker similarity (Resemblyzer)": ("cosine, 0 to 1", "higher"),
    "dWER (Whisper)": ("share of words", "lower"),
    "PSNR dB": ("dB", "higher"),
    "SSIM": ("-1 to 1", "higher"),
    "MS-SSIM": ("0 to 1", "higher"),
    "LPIPS (VGG)": ("0 up", "lower"),
    "LPIPS-HED": ("0 up", "lower"),
    "DISTS-HED": ("0 to 1", "lower"),
    "KID-HED": ("about 0 up", "lower"),
    "pKID-HED": ("about 0 up", "lower"),
    "rFID": ("0 up", "lower"),
    "pFID": ("0 up", "lower"),
    "kbit/s": ("kbit/s", "lower"),
    "bits a pixel": ("bit/pixel", "lower"),
    "kbit/s, coded": ("kbit/s", "lower"),
    "bits a pixel, coded": ("bit/pixel", "lower"),
    "tokens a second": ("1/s", "lower"),
    "tokens a megapixel": ("1/megapixel", "lower"),
    "tokens a frame": ("1/frame", "lower"),
}
_ARROWS = {"higher": "↑ higher", "lower": "↓ lower"}
#: At least this many times V tokens are needed to estimate how many of the V ids are used.
ENOUGH = 10


@dataclass(frozen=True, kw_only=True)
class Report:
    """Metrics, bit rate and codebook use of one tokenizer on one set of media.

    Attributes:
        model: name or source of the tokenizer.
        data: the files, folders or patterns that were given.
        items: number of media that were measured.
        metrics: name with unit -> mean over items (rFID: of the set).
        measured: name -> number of items that its mean is over.
        left_out: (name, reason, files): metrics that could not be computed on some items.
        tokens: bits a pixel or kbit/s, also of entropy-coded ids where the tokenizer has a prior; tokens a megapixel or a second, and
            of sets with clips tokens a frame, a picture being one;
            number of tokens counted in each codebook; for each codebook usage (share of its ids that occur, 0..1), perplexity,
            entropy in bits, and at a position, over items, entropy in bits and number of different ids.
        vocab_sizes: V of each codebook.
        failed: file -> why it could not be used.
        notes: metrics that were left out as a whole, and why; which of two variants of a metric was used.
        versions: package -> version.
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
        """The report as a mapping for JSON: every metric with its unit, which values are better, its number of items; None for NaN."""
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
        """Number of tokens that were counted in each codebook."""
        found = self.tokens.get("tokens counted", 0)
        return int(found) if not isinstance(found, list) else 0

    def enough(self, vocab_size: int) -> bool:
        """True if enough tokens were counted to estimate how many ids of a codebook are used."""
        return self.counted >= ENOUGH * vocab_size


def report_text(report: Report) -> str:
    """The report as text: a table of metrics, a table of codebooks, and notes; lines are not wrapped."""
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
    """Print a report as `report_text` formats it."""
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
    """The first three names of a list (the JSON report has all)."""
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _arrow(name: str) -> str:
    return _ARROWS[DIRECTIONS[name][1]] if name in DIRECTIONS else ""


def _about(name: str) -> dict[str, str]:
    unit, better = DIRECTIONS.get(name, ("", ""))
    return {"unit": unit, "better": better}


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
