"""The measurements of one tokenizer, in a process of their own: cost first, then one pass over the set for each point.

    python -m tokenzoo.zoo.bench JOB.json        # started by `run.py`
"""

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...codecs.devices import pick_device
from ...codecs.files import write_text
from ...codecs.spec import AudioSpec
from ...codecs.token_checks import is_clips
from ...codecs.tokenizer import Tokenizer
from ...codecs.version import __version__
from ..evaluate.report import Report
from ..evaluate.run import evaluate, versions
from ..progress import waiting
from ..tables import counted
from . import cost, memory
from .settings import Corpus, Point, Settings, corpus_of, points_of


@dataclass(frozen=True, kw_only=True)
class Job:
    """One tokenizer to measure.

    Attributes:
        name: as `tokenzoo.load` takes it.
        data: the files, folders or patterns of the set.
        modality: that of the bench; "" for the first tokenizer, which decides.
        films: films below folders belong to the set, as a tokenizer of the bench takes clips.
        settings: of the bench.
        result: file that the result is written to; if it holds that of the same job already, nothing is measured.
        place: where this tokenizer stands in the bench, as "1 of 3".
        progress: show bars on a terminal.
    """

    name: str
    data: tuple[str, ...]
    modality: str
    settings: Settings
    result: Path
    films: bool = False
    place: str = ""
    progress: bool = False

    def as_json(self) -> dict[str, Any]:
        """The job as a mapping for JSON."""
        return {**vars(self), "data": list(self.data), "settings": self.settings.as_json(), "result": str(self.result)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        """The job that `as_json` returned."""
        own = {"data": tuple(values["data"]), "settings": Settings.from_json(values["settings"]), "result": Path(values["result"])}
        return cls(**{**values, **own})


def measure(job: Job) -> dict[str, Any]:
    """Measure one tokenizer, or return what was measured of it before; the result is in `job.result` as well.

    Raises:
        ValueError: a tokenizer of another modality than the bench's, or of neither sound nor pictures.
        TakesClips: the set is without its films, and this tokenizer takes clips.
        Exception: as `tokenzoo.load`.
    """
    from ..hub import load

    before = memory.resident()
    settings, device = job.settings, pick_device(job.settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with waiting(f"{job.place}: loading {job.name}", show=job.progress):
        tokenizer = load(job.name, device=device, dtype=settings.dtype)
    modality = tokenizer.spec.modality
    if modality not in ("audio", "image"):
        raise ValueError(f"{job.name} takes features of another network; only sound and pictures are measured.")
    if job.modality not in ("", modality):
        raise OtherModality(f"{job.name} is of modality {modality}, the tokenizers before it of {job.modality}; a bench is of one.")
    if is_clips(tokenizer) and not job.films and _more_with_films(job, modality):
        raise TakesClips(f"{job.name} takes clips, and the set is without its films.")
    corpus = corpus_of(job.data, modality, settings.limit, films=job.films)
    key = _key(tokenizer, corpus, settings)
    found = read_result(job.result)
    if found is not None and found.get("key") == key:
        return found
    start = time.time()
    out: dict[str, Any] = {
        "key": key,
        "name": job.name,
        "family": tokenizer.family,
        "modality": modality,
        "rate_hz": tokenizer.spec.decoded_rate_hz if isinstance(tokenizer.spec, AudioSpec) else 0,
        "corpus": corpus.as_json(),
        **machine(device, settings.dtype),
        "notes": [],
    }
    if settings.cost:
        with waiting(f"{job.place}: the cost of {job.name}", show=job.progress):
            out |= _cost(tokenizer, corpus, settings, before)
    out["rows"] = [_row(tokenizer, corpus, point, job) for point in points_of(settings.sweeps)]
    if settings.perturb is not None:
        out["rows"].append(_row(tokenizer, corpus, Point(), job, perturbed=True))
    out["minutes"] = round((time.time() - start) / 60, 2)
    job.result.parent.mkdir(parents=True, exist_ok=True)
    write_text(job.result, json.dumps(out, indent=1) + "\n")
    return out


class OtherModality(ValueError):
    """A tokenizer that cannot stand in the same table as those before it."""


def _more_with_films(job: Job, modality: str) -> bool:
    """Whether films below folders change the set."""
    whole = corpus_of(job.data, modality, job.settings.limit, films=True)
    try:
        return corpus_of(job.data, modality, job.settings.limit).sha256 != whole.sha256
    except FileNotFoundError:
        return True


class TakesClips(ValueError):
    """A tokenizer that takes clips, in a bench that began without the films of its set."""


def read_result(path: Path) -> dict[str, Any] | None:
    """The result in a file; None if there is none, or it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def machine(device: torch.device, dtype: str) -> dict[str, Any]:
    """Device, dtype, threads, load average, date and versions, as they stand in every result."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {_processor()}",
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions() | {"python": platform.python_version()},
    }


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def _key(tokenizer: Tokenizer, corpus: Corpus, settings: Settings) -> dict[str, Any]:
    """What a result depends on; one with another key is measured again."""
    identity = tokenizer.identity
    return {
        "family": tokenizer.family,
        "fingerprint": identity.fingerprint if identity else "",
        "data": corpus.sha256,
        "settings": settings.as_json(),
        "tokenzoo": __version__,
    }


def _cost(tokenizer: Tokenizer, corpus: Corpus, settings: Settings, before: int) -> dict[str, Any]:
    try:
        media, path = cost.sample_of(tokenizer, corpus.files)
        found = cost.cost_of(tokenizer, media, rounds=settings.rounds, baseline=before)
    except Exception as error:  # of one tokenizer: its quality can still be measured
        return {"cost": {}, "notes": [f"no cost: {type(error).__name__}: {error}"]}
    extent = cost.extent_of(media)
    size = f"{extent:.3g} s" if tokenizer.spec.modality == "audio" else " x ".join(map(str, media.shape[-2:][::-1])) + " pixels"
    if is_clips(tokenizer):
        size = f"{counted(cost.frames_of(media), 'frame')} of {size}"
    return {"cost": found, "notes": [f"times at batch 1 of {path.name}, {size}", *cost.NOTES]}


def _row(tokenizer: Tokenizer, corpus: Corpus, point: Point, job: Job, *, perturbed: bool = False) -> dict[str, Any]:
    """One pass over the set, as a row of the table; with `error` in place of figures where the tokenizer does not take the point."""
    setting = str(job.settings.perturb) if perturbed else point.label
    words = " ".join(w for w in (f"{job.place}:", job.name, point.label) if w)
    try:
        options = point.options(tokenizer)
        report = evaluate(
            tokenizer, corpus.files, perturb=job.settings.perturb if perturbed else None, extra=job.settings.extra,
            encode_options=options.of_encode, decode_options=options.of_decode, progress=words if job.progress else False,
        )  # fmt: skip
    except ValueError as error:
        return {"setting": setting, "error": str(error)}
    return row_of(report, setting) | {"perturbed": perturbed}


def row_of(report: Report, setting: str) -> dict[str, Any]:
    """A row of the table from a report."""
    found = report.as_json()
    if not report.items:
        return {"setting": setting, "error": next(iter(report.failed.values()), "no item was measured"), "failed": report.failed}
    figures = {n: m["mean"] for n, m in found["metrics"].items()} | {n: r["value"] for n, r in found["rate"].items()}
    return {
        "setting": setting,
        "items": report.items,
        "figures": figures,
        "measured": {n: m["items"] for n, m in found["metrics"].items()},
        "codebooks": found["codebooks"],
        "tokens counted": report.counted,
        "left_out": found["left_out"],
        "failed": report.failed,
        "notes": report.notes,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure the job in a file; exit code 0, or 1 with the error beside the file."""
    (path,) = arguments if arguments is not None else sys.argv[1:]
    job = Job.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    try:
        measure(job)
    except Exception as error:  # any of a tokenizer's; the bench lists it and goes on
        kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
        reason = {"error": f"{kind}{error}", "kind": type(error).__name__}
        write_text(Path(path).with_suffix(".error"), json.dumps(reason))
        return 1
    return 0

