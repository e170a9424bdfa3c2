"""`tokenize`: from a source of media to shards of tokens, on one process, several, several machines, or Ray."""

import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from ...codecs.config import ConfigError, from_mapping, to_mapping
from ...codecs.locks import only_one
from ...codecs.serialize import save_folder
from ...codecs.threads import bound_cores
from ...codecs.token_checks import is_clips
from ...codecs.tokenizer import Tokenizer
from ...codecs.wrapping import unwrap
from ..progress import waiting
from ..tables import counted
from .assemble import Assembler, manifest
from .formats import PACKED, writer
from .ledger import MANIFEST, WORK, Ledger, RequestError, attach, begin, check_same, clear, finish
from .manifest import read_manifest
from .options import Options, Pace
from .packing.base import PackingConfig
from .pipeline import Pipeline, UnitDone, UnitOrder
from .progress import Progress
from .request import SAVED, absolute, head_of, load_tokenizer, source_facts
from .sources import list_source

#: Seconds between looks at the folder while other ranks work.
POLL = 0.2


@dataclass(frozen=True)
class Result:
    """Result of a finished job: its folder and its manifest, see `ledger.py`."""

    out: Path
    manifest: dict[str, Any]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Items without tokens: place in the list, key, reason."""
        return self.manifest["failures"]


class Engine(Protocol):
    """Protocol of what encodes units: this process, local workers, or a Ray cluster."""

    def run(self, units: list[int]) -> Iterator[UnitDone]:
        """Yield each unit when it is on disk."""
        ...


def tokenize(
    tokenizer: str | Tokenizer,
    source: Any,
    out: str | os.PathLike[str],
    *,
    options: Options = Options(),  # noqa: B008  (frozen)
    pace: Pace = Pace(),  # noqa: B008  (frozen)
    revision: str | None = None,
    column: str | None = None,
    split: str = "train",
    config: str | None = None,
) -> Result:
    """Encode all media of a source into shards in `out`. Call it again after a crash to resume.

    Under `torchrun` or `accelerate launch` all ranks call it with the same arguments and share the work; `out` is then on
    a file system that all of them share.

    Args:
        tokenizer: a name that `tokenzoo.load` takes, or a tokenizer (then `options.device` and `dtype` are its own).
        source: see `sources.list_source`; also `column`, `split`, `config`.
        out: the folder of the corpus; made if missing.
        options: what the result depends on.
        pace: how the work is done.
        revision: of a hub repository.

    Raises:
        RequestError: the folder holds a job with another tokenizer, source or option, or other files.
        InUse: another process works on it.
        ConfigError: a source that does not exist, or options that do not fit the tokenizer.
    """
    out, rank, world = Path(out), int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    named = tokenizer
    if isinstance(tokenizer, str):
        name = absolute(tokenizer)
        with waiting(f"loading {name}", show=pace.progress):
            tokenizer = load_tokenizer(name, revision, options, _device(options, 0))
    else:
        tokenizer = unwrap(tokenizer)
        name = tokenizer.eval().source or tokenizer.family
        own = {"device": tokenizer.device.type, "dtype": str(tokenizer.dtype).removeprefix("torch.")}
        options = Options(**{**to_mapping(options), **own})
    with only_one(out, f"{WORK}/.lock-{rank}"), _threads(options.threads):
        head = head_of(tokenizer, name, revision, options)
        listing = None
        if rank == 0:
            films = is_clips(tokenizer)
            listing = list_source(source, tokenizer.spec.modality, films=films, column=column, split=split, config=config)
            head["source"] = source_facts(listing)
        known = _finished(out, head)
        if known is not None and rank == 0:
            clear(out)
        ledger = None
        if known is None:
            ledger = begin(out, head, listing) if listing is not None else _await_plan(out, head)
        if ledger is not None:
            known = _run(ledger, tokenizer, pace, rank, world, save=not isinstance(named, str))
    return Result(out, known or read_manifest(out))


def _finished(out: Path, head: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a finished job; RequestError if it was another job."""
    if not (out / MANIFEST).is_file():
        return None
    manifest = read_manifest(out)
    check_same(out, {k: manifest.get(k) for k in head}, head)
    return manifest


def _run(ledger: Ledger, tokenizer: Tokenizer, pace: Pace, rank: int, world: int, *, save: bool) -> dict[str, Any]:
    """Encode this rank's units; rank 0 also fills the shards, waits for the others and ends the job.

    `save`: the tokenizer is known to this process only; others get a copy in the work folder.
    """
    assembler = _assembler(ledger) if rank == 0 else None
    first = assembler.done if assembler else (ledger.shard_records() or [{"stop": 0}])[-1]["stop"]
    if assembler:
        assembler.advance()
    todo = ledger.todo(first)
    done = ledger.listing.items.num_rows - sum(b - a for a, b in (ledger.units[u] for u in todo))
    mine = [u for u in todo if u % world == rank]
    engine = _engine(ledger, tokenizer, pace, mine)
    if save and not isinstance(engine, _Here):
        save_folder(tokenizer, ledger.work / SAVED)
    total, show = ledger.listing.items.num_rows, pace.progress and rank == 0
    with Progress(total, done, show=show) as progress, ThreadPoolExecutor(1) as beside:
        filling: Future[None] | None = None
        for unit in engine.run(mine):
            progress.add(unit.items, unit.tokens, unit.failed)
            if assembler and (filling is None or filling.done()):  # shards are written while encoding continues
                if filling:
                    filling.result()
                filling = beside.submit(assembler.advance)
        if assembler is None:
            return _await_manifest(ledger)
        if filling:
            filling.result()
        assembler.advance()
        while assembler.unit < len(ledger.units):  # units of other ranks
            time.sleep(POLL)
            assembler.advance()
    assembler.finish()
    _save_packing(ledger)
    whole = manifest(ledger, assembler.records)
    finish(ledger, whole)
    return whole


def _assembler(ledger: Ledger) -> Assembler:
    packing = None
    if ledger.options.format in PACKED:
        packing = from_mapping(PackingConfig, ledger.head["packing"], "packing").build()
    about = {k: ledger.head[k] for k in ("tokenizer", "layout")}
    return Assembler(ledger, writer(ledger.options.format, ledger.layout, packing, about))


def _save_packing(ledger: Ledger) -> None:
    if ledger.options.format in PACKED:
        from_mapping(PackingConfig, ledger.head["packing"], "packing").build().save(ledger.out / "packing.json")


def _engine(ledger: Ledger, tokenizer: Tokenizer, pace: Pace, units: list[int]) -> Engine:
    workers, device = pace.workers, ledger.options.device
    if ledger.listing.objects and (workers or pace.engine == "ray"):
        raise ConfigError(
            "a data set that was passed in as an object is known to this process only: take workers=0, or save it with "
            "save_to_disk and pass the folder."
        )
    if pace.engine == "ray":
        from .ray_engine import RayEngine

        return RayEngine(ledger, workers, pace.readers, pace.ray)
    if workers is None:
        many = torch.cuda.device_count() if device == "cuda" else _cores()
        workers = 0 if len(units) < 2 or ledger.listing.objects or "LOCAL_RANK" in os.environ else min(many, len(units))
    if workers == 0 or not units:
        return _Here(Pipeline(ledger, tokenizer, pace.readers))
    from .local import LocalEngine

    devices = [_device(ledger.options, i) for i in range(workers)]
    return LocalEngine(ledger, workers, pace.readers, devices)


def _cores() -> int:
    """CPU cores that this process may use."""
    if bound := bound_cores():
        return len(bound)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Here:
    """Engine that encodes units in this process, without workers."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def run(self, units: list[int]) -> Iterator[UnitDone]:
        """Encode units one after the other; yield each when it is on disk."""
        return self.pipeline.run([UnitOrder(u) for u in units])


def _device(options: Options, worker: int) -> str:
    """The device of a worker: with "cuda", each rank and each worker has its own."""
    if options.device != "cuda" or not torch.cuda.device_count():
        return options.device
    return f"cuda:{(int(os.environ.get('LOCAL_RANK', 0)) + worker) % torch.cuda.device_count()}"


def _await_plan(out: Path, head: dict[str, Any]) -> Ledger | None:
    """Wait for the plan of another rank and compare it with this rank's request; None if the job finished meanwhile."""
    while True:
        if (out / MANIFEST).is_file():
            return None
        with contextlib.suppress(FileNotFoundError):  # not there yet, or the last rank has just cleared it away
            ledger = attach(out)
            check_same(out, {k: ledger.head.get(k) for k in head}, head)
            return ledger
        time.sleep(POLL)


def _await_manifest(ledger: Ledger) -> dict[str, Any]:
    while not (ledger.out / MANIFEST).is_file():
        time.sleep(POLL)
    return read_manifest(ledger.out)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Context manager: number of torch's threads, restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def report(result: Result, *, most: int = 10) -> str:
    """Summary of a finished job for people, a few lines."""
    t = result.manifest["totals"]
    parts = [counted(t["items"], "item"), counted(t["tokens"], "token")]
    lines = [f"{result.out}: {', '.join(parts)} in {counted(t['shards'], 'shard')}"]
    if result.failures:
        lines.append(f"{counted(len(result.failures), 'item')} failed; all are listed in {result.out / MANIFEST}:")
        lines += [f"  {f['key']}: {f['reason']}" for f in result.failures[:most]]
        lines += ["  ..."] if len(result.failures) > most else []
    return "\n".join(lines)


__all__ = ["Options", "Pace", "RequestError", "Result", "report", "tokenize"]
