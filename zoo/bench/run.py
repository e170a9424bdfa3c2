"""`bench`: several tokenizers of one modality over one set, each measured in its own process, and written when it is finished.

    found = bench(["photo-f16-rvq7"], ["photos"], out="bench_out")      # also bench.json, .csv, .md, .html there
    print(found.text())
"""

import dataclasses
import functools
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...codecs.config import ConfigError
from ...codecs.devices import dtype_name, pick_device
from ...codecs.files import write_text
from ..registry import cards
from . import table
from .result import Bench
from .settings import Settings, corpus_of
from .worker import Job, OtherModality, TakesClips, measure, read_result

#: Facts of a result that stand in the head of a bench.
_HEAD = ("corpus", "device", "dtype", "threads", "load", "versions", "date")


def bench(
    names: Sequence[str],
    data: Sequence[str | Path],
    *,
    settings: Settings | None = None,
    out: str | Path | None = None,
    codecs: bool = False,
    command: str = "",
    own_process: bool = True,
    progress: bool = False,
) -> Bench:
    """Measure tokenizers on the media that `data` names.

    Where one of the tokenizers takes clips, films below folders belong to the set; those that take pictures encode them frame by frame.

    Args:
        names: as `tokenzoo.load` takes them; all of one modality, that of the first which loads.
        data: files, folders (with all below them), patterns, .txt lists.
        settings: None: the defaults.
        out: folder for the results of each tokenizer and for the tables; what is there already is not measured again. None: none.
        codecs: add classical codecs at the rates of the tokenizers' rows.
        command: the command line, for the tables.
        own_process: measure each tokenizer in a process of its own, so that its memory is counted alone and a crash costs it only.
        progress: show bars on a terminal.

    Raises:
        ValueError: no names, a name twice, tokenizers of different modalities, or settings that are not allowed.
        FileNotFoundError: `data` names no file of the modality.
    """
    settings = settings or Settings()
    pick_device(settings.device)
    dtype_name(settings.dtype)
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"name one tokenizer or more, each once; got {', '.join(names) or 'none'}.")
    places = tuple(str(d) for d in data)
    modality = _modality_of_cards(names)
    films = any(cards()[name].facts.clips for name in names if name in cards())
    if modality:  # an empty set is an error before anything is loaded
        corpus_of(places, modality, settings.limit, films=films or not all(name in cards() for name in names))
    head = {"command": command or "bench", "data": ", ".join(places), "modality": modality, "date": time.strftime("%Y-%m-%d")}
    found = Bench(head=head)
    with tempfile.TemporaryDirectory() as side:
        results = Path(side) if out is None else Path(out) / "results"
        results.mkdir(parents=True, exist_ok=True)
        job = Job(
            name="", data=places, modality=modality, settings=settings, result=results, films=films, progress=progress
        )
        run = functools.partial(_in_process, side=Path(side)) if own_process else measure
        try:
            _measure_each(names, job, run, found)
        except TakesClips:  # one without a card: those before it were measured on other files
            job = dataclasses.replace(job, films=True)
            _measure_each(names, job, run, found)
        if job.films:
            found.head["films"] = True
        if codecs and found.results:
            from .reference_codecs import measured, rate_of

            rate_hz, modality = rate_of(found.results), found.head["modality"]
            made = measured(
                modality, places, settings, found.rows(), results, rate_hz=rate_hz, films=job.films, progress=progress
            )
            found.results.extend(made)
    if out is not None:
        write(found, Path(out))
    return found


def _measure_each(names: Sequence[str], job: Job, run: Callable[[Job], dict[str, Any]], found: Bench) -> None:
    """Measure each tokenizer and put its result, or why there is none, into `found` in place of what is there.

    `job` is that of all, whose `result` is a folder.
    """
    found.results.clear()
    found.failed.clear()
    for i, name in enumerate(names):
        own = dataclasses.replace(
            job, name=name, modality=found.head["modality"], result=job.result / file_name(name), place=f"{i + 1} of {len(names)}"
        )
        try:
            result = run(own)
        except (OtherModality, TakesClips):
            raise
        except Exception as error:  # of one tokenizer; the others are measured
            found.failed[name] = str(error) or type(error).__name__
            continue
        found.results.append(result)
        found.head.update({"modality": result["modality"]} | {n: result[n] for n in _HEAD})


def file_name(name: str) -> str:
    """Name of the file with a tokenizer's result: readable, and different for different names."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("_.")[-80:]
    return f"{plain}.json" if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json"


def _modality_of_cards(names: Sequence[str]) -> str:
    """The modality of the names that have a card; "" if none has.

    Raises:
        OtherModality: there are several.
    """
    of_name = {name: cards()[name].modality for name in names if name in cards()}
    if len(set(of_name.values())) > 1:
        several = ", ".join(f"{n} ({m})" for n, m in of_name.items())
        raise OtherModality(f"a bench is of one modality, these are of several: {several}.")
    return next(iter(of_name.values()), "")


def _in_process(job: Job, side: Path) -> dict[str, Any]:
    """The result of a job that runs in a process of its own.

    Raises:
        OtherModality, TakesClips, ValueError: what the job raised, or that its process ended.
    """
    path = side / "job.json"
    path.with_suffix(".error").unlink(missing_ok=True)
    write_text(path, json.dumps(job.as_json()))
    # Its output, of packages that print, would stand among the tables; its bars and warnings go to the error output.
    done = subprocess.run([sys.executable, "-m", "tokenzoo.zoo.bench", str(path)], check=False, stdout=subprocess.DEVNULL)
    if done.returncode == 0 and (result := read_result(job.result)) is not None:
        return result
    error = read_result(path.with_suffix(".error"))
    if error is None:
        memory = " (out of memory?)" if done.returncode == -9 else ""
        raise ValueError(f"its process ended with code {done.returncode}{memory}.")
    raise {kind.__name__: kind for kind in (OtherModality, TakesClips)}.get(error["kind"], ValueError)(error["error"])


def write(found: Bench, out: Path) -> None:
    """Write bench.json, bench.csv, bench.md, bench.html and, where there are several rates, the plots."""
    from . import page, plots

    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "bench.json", json.dumps(found.as_json(), indent=1) + "\n")
    write_text(out / "bench.csv", table.as_csv(found.results))
    write_text(out / "bench.md", table.as_markdown(found.head, found.results, found.failed))
    plots.write(found.rows(), out)
    write_text(out / "bench.html", page.html(found.head, found.results, found.failed))
