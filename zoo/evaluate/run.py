"""One pass over the media: encode, decode, measure each item, count the ids."""

import glob
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from .report import Report

_SUFFIXES = {
    "audio": {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".m4a"},
    "image": {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"},
}


class Metrics(Protocol):
    """What a modality brings: reads an item, measures a pair, sums up."""

    notes: list[str]

    def read(self, path: Path) -> Any:
        """The original in the tokenizer's own rate and range, as `encode` takes it."""
        ...

    def add(self, original: Any, decoded: Tensor) -> dict[str, float]:
        """Figures of one item."""
        ...

    def totals(self) -> dict[str, float]:
        """Figures of the whole set, such as rFID."""
        ...


class TokenCounts:
    """Counts of ids, and bits, over all items."""

    def __init__(self, vocab_sizes: tuple[int, ...]) -> None:
        self.counts = [torch.zeros(v, dtype=torch.int64) for v in vocab_sizes]
        self.bits = 0

    def add(self, tokens: Tokens) -> None:
        """Count one item's ids."""
        self.bits += sum(tokens.bits())
        own = tokens.counts()[0] if tokens.book_grids is not None else [tokens.ids.shape[2]] * tokens.num_codebooks
        for k, count in enumerate(self.counts):
            count += torch.bincount(tokens.ids[0, k, : own[k]].cpu(), minlength=len(count))

    def summary(self) -> dict[str, float | list[float]]:
        """Share of codes used, perplexity and entropy for each codebook, and the number of tokens that tell of it."""
        out: dict[str, list[float]] = {"usage": [], "perplexity": [], "entropy bits": []}
        for count in self.counts:
            p = count.double() / count.sum().clamp(min=1)
            entropy = float(torch.special.entr(p).sum())
            out["usage"].append(float((count > 0).double().mean()))
            out["perplexity"].append(float(torch.tensor(entropy).exp()))
            out["entropy bits"].append(entropy / float(torch.log(torch.tensor(2.0))))
        return {"tokens counted": float(self.counts[0].sum()), **out}


@torch.no_grad()
def evaluate(tokenizer: Tokenizer, data: str | Path, *, num_codebooks: int | None = None, limit: int = 0) -> Report:
    """Measure `tokenizer` on the media files that `data` names.

    Args:
        data: a folder (searched recursively), a glob, or a `.txt` file with a path a line, relative to it.
        num_codebooks: decode only that many codebooks.
        limit: use at most this many files, in order of name (0: all).

    Raises:
        FileNotFoundError: no media files there.
    """
    files = list(media_files(data, tokenizer.spec.modality))
    files = files[:limit] if limit else files
    if not files:
        raise FileNotFoundError(f"no {tokenizer.spec.modality} files in {data}.")
    metrics, failed = _metrics(tokenizer), {}
    sums: dict[str, float] = {}
    seen: dict[str, int] = {}
    counts = TokenCounts(tokenizer.spec.vocab_sizes[:num_codebooks])
    extent, items = 0.0, 0
    for path in files:
        try:
            original = metrics.read(path)
            tokens = tokenizer.encode(original)
        except (ValueError, OSError) as error:
            failed[str(path)] = str(error)
            continue
        tokens = tokens.first(codebooks=num_codebooks) if num_codebooks else tokens
        for name, value in metrics.add(original, tokenizer.decode(tokens)[0]).items():
            sums[name] = sums.get(name, 0.0) + value
            seen[name] = seen.get(name, 0) + 1
        counts.add(tokens)
        extent += _extent(tokens)
        items += 1
    unit = "kbit/s" if tokenizer.spec.modality == "audio" else "bits a pixel"
    rate = counts.bits / extent / (1000 if unit == "kbit/s" else 1) if extent else float("nan")
    return Report(
        model=tokenizer.source or tokenizer.family,
        data=str(data),
        items=items,
        metrics={n: s / seen[n] for n, s in sums.items()} | metrics.totals(),
        tokens={unit: rate, **counts.summary()},
        failed=failed,
        notes=metrics.notes,
        versions={p: _version(p) for p in ("tokenzoo", "torch", "torchmetrics", "pesq", "pystoi")},
    )


def media_files(data: str | Path, modality: str) -> Iterator[Path]:
    """Files of `modality` that a folder, a glob or a list file names, in order of name."""
    root = Path(data)
    if root.suffix == ".txt" and root.is_file():
        yield from (root.parent / line for line in root.read_text().splitlines() if line.strip())
        return
    paths = root.rglob("*") if root.is_dir() else (Path(p) for p in glob.glob(str(data), recursive=True))
    yield from sorted(p for p in paths if p.suffix.lower() in _SUFFIXES[modality] and p.is_file())


def _metrics(tokenizer: Tokenizer) -> Metrics:
    if tokenizer.spec.modality == "audio":
        from .audio import AudioMetrics

        return AudioMetrics(tokenizer)
    from .images import ImageMetrics

    return ImageMetrics(tokenizer)


def _extent(tokens: Tokens) -> float:
    """Seconds or pixels of one item's original."""
    assert tokens.sizes is not None
    if tokens.sample_rate_hz:
        return float(tokens.sizes[0, 0]) / tokens.sample_rate_hz
    return float(tokens.sizes[0].prod())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
