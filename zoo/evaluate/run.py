"""One pass over the media: encode, decode, measure each item, count the ids."""

import importlib.metadata
import importlib.util
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.entropy.prior import Prior
from ...codecs.media.endings import endings_of
from ...codecs.media.errors import shown
from ...codecs.options import DecodeOptions, EncodeOptions
from ...codecs.position_statistics import PositionCounts
from ...codecs.token_checks import is_clips
from ...codecs.token_file import coded_bits
from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from ...codecs.wrapping import unwrap
from ..finding import find, other_kind
from ..priors import prior_of_maker
from ..progress import Bar
from .images import joined, parts_of
from .perturb import Perturb, perturbed
from .report import Report

_LOG = logging.getLogger(__name__)


class Metrics(Protocol):
    """Metrics of one modality: reads an item, compares it with its reconstruction, summarises the set."""

    notes: list[str]
    #: (metric, reason) -> number of items on which it could not be computed.
    left_out: Counter[tuple[str, str]]

    def read(self, path: Path) -> Any:
        """Read a file as `encode` takes it: sound at the tokenizer's rate, pictures uint8 `[3, H, W]`, clips `[T, 3, H, W]`."""
        ...

    def add(self, original: Any, decoded: Tensor) -> dict[str, float]:
        """Metrics of one item by name; those for which it is too small are counted in `left_out`."""
        ...

    def totals(self) -> dict[str, float]:
        """Metrics of the whole set by name, such as rFID."""
        ...


class TokenCounts:
    """Counts how often each id occurs in each codebook, also by position, and the bits of all items."""

    def __init__(self, vocab_sizes: tuple[int, ...], prior: Prior | None = None) -> None:
        self.prior, self.coded = prior, 0
        self.counts = [torch.zeros(v, dtype=torch.int64) for v in vocab_sizes]
        self.positions = PositionCounts()
        self.bits = self.tokens = 0

    def add(self, tokens: Tokens) -> None:
        """Count the ids and bits of one item."""
        self.bits += sum(tokens.bits())
        self.coded += 0 if self.prior is None else coded_bits(tokens, self.prior)
        self.tokens += sum(map(sum, tokens.counts()))
        own = tokens.counts()[0] if tokens.book_grids is not None else [tokens.ids.shape[2]] * tokens.num_codebooks
        for k, count in enumerate(self.counts):
            count += torch.bincount(tokens.ids[0, k, : own[k]].cpu(), minlength=len(count))
        self.positions.add(tokens)

    def summary(self) -> dict[str, float | list[float]]:
        """Figures of each codebook, see `Report.tokens`, and the number of tokens in each."""
        out: dict[str, list[float]] = {"usage": [], "perplexity": [], "entropy bits": []}
        for count in self.counts:
            p = count.double() / count.sum().clamp(min=1)
            entropy = float(torch.special.entr(p).sum())
            out["usage"].append(float((count > 0).double().mean()))
            out["perplexity"].append(float(torch.tensor(entropy).exp()))
            out["entropy bits"].append(entropy / float(torch.log(torch.tensor(2.0))))
        places = self.positions.statistics()
        if places.items >= 2:
            out |= {"bits at a position": places.entropy_bits.tolist(), "ids at a position": places.distinct.tolist()}
        return {"tokens counted": float(self.counts[0].sum()) if self.counts else 0.0, **out}


@torch.no_grad()
def evaluate(
    tokenizer: Tokenizer,
    data: str | Path | Sequence[str | Path],
    *,
    num_codebooks: int | None = None,
    limit: int = 0,
    perturb: Perturb | None = None,
    encode_options: EncodeOptions | None = None,
    decode_options: DecodeOptions | None = None,
    extra: Sequence[str] = (),
    progress: bool | str = False,
) -> Report:
    """Measure `tokenizer` on the media files that `data` names.

    A file that cannot be read, encoded or decoded is listed in the report, and the others are measured. Films below a folder are
    measured if the tokenizer takes clips, and those that are named in any case: a tokenizer of pictures encodes them frame by frame.

    Args:
        tokenizer: any family of modality audio or image.
        data: a file, a folder with all below it, a wildcard, or a `.txt` file with one path in each line, relative to it; or a
            sequence of these.
        num_codebooks: encode only the first ones, this many; None: all.
        limit: use at most this many files, in order of name (0: all).
        perturb: replace some ids before they are decoded; counted ids and bits are those before. FID is then called pFID.
        encode_options, decode_options: for `encode` and `decode`; None: their defaults. Of clips, the option `frames` counts when
            they are read.
        extra: names of metrics of `speech_models.py`, which need optional packages.
        progress: show a bar on a terminal; a text: the words before it.

    Raises:
        FileNotFoundError: `data` names no media file that exists.
        ValueError: the tokenizer takes neither sound nor pictures, or an unknown name in `extra`.
    """
    tokenizer = unwrap(tokenizer)
    files = media_files(data, tokenizer.spec.modality, films=is_clips(tokenizer))
    named = str(data) if isinstance(data, str | Path) else ", ".join(map(str, data))
    files = files[:limit] if limit else files
    if not any(path.exists() for path in files):
        raise FileNotFoundError(f"no {tokenizer.spec.modality} files in {named}.")
    metrics, failed = metrics_of(tokenizer, len(files), extra, frames=getattr(encode_options, "frames", None)), {}
    values: dict[str, list[float]] = {}
    left_out: dict[tuple[str, str], list[str]] = {}
    counts: TokenCounts | None = None
    first = {} if num_codebooks is None else {"num_codebooks": num_codebooks}
    name, extent, items, frames = tokenizer.source or tokenizer.family, 0.0, 0, 0
    clips = False
    prior = prior_of_maker(tokenizer.identity)
    coded = prior if importlib.util.find_spec("constriction") else None
    with Bar(len(files), progress if isinstance(progress, str) else "measuring", show=bool(progress)) as bar:
        for path in files:
            try:
                if wrong := other_kind(path, tokenizer.spec.modality, name):
                    raise ValueError(wrong)
                original = metrics.read(path)
                before = metrics.left_out.copy()
                made, decoded = [], []
                for part in parts_of(tokenizer, original):
                    made.append(tokenizer.encode(part, encode_options, **first)[0])
                    shown_tokens = perturbed(made[-1], tokenizer.quantizer, perturb, item=items) if perturb else made[-1]
                    decoded.append(tokenizer.decode(shown_tokens, decode_options)[0])
                found = metrics.add(original, joined(tokenizer, original, decoded))
            except Exception as error:  # decoders may raise any exception; no file ends the run
                known = isinstance(error, (ValueError, OSError)) and str(error)
                _LOG.debug("%s", shown(path), exc_info=error)
                failed[shown(path)] = str(error) if known else f"{type(error).__name__}: {error}"
            else:
                for figure, value in found.items():
                    values.setdefault(figure, []).append(value)
                counts = counts or TokenCounts(made[0].vocab_sizes, coded)
                for tokens in made:
                    counts.add(tokens)
                    extent += _extent(tokens)
                for missing in metrics.left_out - before:
                    left_out.setdefault(missing, []).append(shown(path))
                items += 1
                clip = isinstance(original, torch.Tensor) and original.ndim == 4
                clips, frames = clips or clip, frames + (len(original) if clip else 1)
            bar.step()
    counts = counts or TokenCounts(())
    sound = tokenizer.spec.modality == "audio"
    rates = {
        "kbit/s" if sound else "bits a pixel": counts.bits / (1000 if sound else 1),
        "tokens a second" if sound else "tokens a megapixel": counts.tokens * (1 if sound else 1e6),
    }
    if counts.prior is not None:
        rates["kbit/s, coded" if sound else "bits a pixel, coded"] = counts.coded / (1000 if sound else 1)
    rates = {n: v / extent if extent else float("nan") for n, v in rates.items()}
    if clips:
        rates["tokens a frame"] = counts.tokens / frames
    totals, notes = metrics.totals(), list(metrics.notes)
    if prior is not coded:
        notes.append("no rate of coded ids: the package constriction is not installed; pip install 'tokenzoo[entropy]'")
    if perturb is not None:
        totals = {{"rFID": "pFID", "KID-HED": "pKID-HED"}.get(n, n): v for n, v in totals.items()}
        notes.append(f"reconstructed from perturbed ids: {perturb}")
    return Report(
        model=name,
        data=named,
        items=items,
        metrics={n: sum(v) / len(v) for n, v in values.items()} | totals,
        measured={n: len(v) for n, v in values.items()} | dict.fromkeys(totals, items),
        left_out=[(metric, why, files) for (metric, why), files in left_out.items()],
        tokens={**rates, **counts.summary()},
        vocab_sizes=tuple(len(c) for c in counts.counts),
        failed=failed,
        notes=[*notes, *counts.positions.statistics().warnings()],
        versions=versions(),
    )


def media_files(data: str | Path | Sequence[str | Path], modality: str, *, films: bool = False) -> list[Path]:
    """Paths of the media files of `modality` that `data` names, in order; see `finding.find` for what may name them.

    `films`: films below folders too; those that are named count in any case.
    """
    places = [data] if isinstance(data, str | Path) else list(data)
    return [found.path for found in find(places, endings_of(modality, films=films))]


def metrics_of(tokenizer: Tokenizer, items: int, extra: Sequence[str] = (), *, frames: int | None = None) -> Metrics:
    """The metrics of a tokenizer's modality, for at most `items` items; `extra` as in `evaluate`, `frames` as in `ImageMetrics`.

    Raises:
        ValueError: the tokenizer takes neither sound nor pictures, or an unknown name in `extra`.
    """
    if tokenizer.spec.modality == "audio":
        from .audio import AudioMetrics

        return AudioMetrics(tokenizer, extra)
    if tokenizer.spec.modality != "image":
        raise ValueError(f"{tokenizer.family} takes features of another network; only sound and pictures are measured.")
    if extra:
        raise ConfigError(f"the metrics {', '.join(extra)} are of speech; {tokenizer.source or tokenizer.family} takes pictures.")
    from .images import ImageMetrics

    return ImageMetrics(tokenizer, items, frames)


def _extent(tokens: Tokens) -> float:
    """Seconds or pixels of one item's original."""
    assert tokens.sizes is not None
    if tokens.sample_rate_hz:
        return float(tokens.sizes[0, 0]) / float(tokens.sample_rate_hz)
    return float(tokens.sizes[0].prod())


def versions() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    return {p: _version(p) for p in ("tokenzoo", "torch", "torchmetrics", "pesq", "pystoi")}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
