"""Killed at any moment and started again with the same command: every input once, the same bytes as one never killed.

    pytest tests/zoo/corpus/test_kill.py
"""

import errno
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from corpus_cases import bad_sounds, contents, full_for_units, lively, make, saved, sounds
from kills import Killer
from tokenzoo.zoo.corpus import Options, Pace, TokenDataset, bulk, verify
from tokenzoo.zoo.corpus.ledger import Ledger, attach, begin
from tokenzoo.zoo.corpus.local import LocalEngine, WorkerError
from tokenzoo.zoo.corpus.request import head_of, source_facts
from tokenzoo.zoo.corpus.sources import list_source
from waiting import PATIENCE_SECONDS, kill_when

SETTINGS = {"unit_items": 6, "shard_items": 6}


class Crash(BaseException):
    """The process is gone: nothing after it runs but what an operating system does."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Good and bad sounds, so that failures are part of what must not be lost or doubled."""
    root = sounds(tmp_path_factory.mktemp("in"), 10)
    bad_sounds(root / "sub0")
    return root


@pytest.fixture(scope="module", params=["parquet", "flat"])
def whole(request, source, tmp_path_factory):
    """Format, and what an uninterrupted run writes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    result = make(lively("spectral"), source, out, format=request.param, **SETTINGS)
    assert result.manifest["totals"]["shards"] == 2 and len(result.failures) == 10
    return request.param, contents(out)


def once(out, source) -> None:
    """Every input stands exactly once in the corpus: with tokens, or among the failures."""
    data = TokenDataset(out, seed=None)
    keys = [data.metadata(i)["key"] for i in range(data.documents)] + [f["key"] for f in data.manifest["failures"]]
    assert Counter(keys) == Counter(str(p.relative_to(source)) for p in source.rglob("*") if not p.is_dir())
    assert verify(out) == []


# --- simulated crashes, at every step that changes the disk ------------------------------------------------------------


class Steps:
    """Counts the steps that change the disk, and crashes at the n-th, before or after it happens."""

    def __init__(self, monkeypatch, at: int, after: bool) -> None:
        self.count, self.at, self.after = 0, at, after
        for owner, name in ((os, "replace"), (os, "fsync"), (os, "unlink"), (shutil, "rmtree")):
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, step):
        def stepped(*arguments, **options):
            number = self.count
            self.count += 1
            if number > self.at or (number == self.at and not self.after):  # a process that is gone clears nothing away either
                raise Crash
            result = step(*arguments, **options)
            if number == self.at:
                raise Crash
            return result

        return stepped


@pytest.mark.parametrize("whole", [pytest.param("flat", marks=pytest.mark.slow), "parquet"], indirect=True)
@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_crash_at_any_step_changes_nothing(whole, source, after, tmp_path, monkeypatch):
    format, want = whole
    tokenizer = lively("spectral")
    for at in itertools.count():
        out = tmp_path / f"out{at}"
        with monkeypatch.context() as m:
            Steps(m, at, after)
            try:
                make(tokenizer, source, out, format=format, **SETTINGS)
                break
            except Crash:
                pass
        make(tokenizer, source, out, format=format, **SETTINGS)
        assert contents(out) == want, f"crash at step {at}"
    assert at > 25, "steps are no longer seen"


def test_crash_after_crash(whole, source, tmp_path, monkeypatch):
    """Each run gets a little further, until one ends."""
    format, want = whole
    tokenizer = lively("spectral")
    for tries in range(60):  # noqa: B007
        with monkeypatch.context() as m:
            Steps(m, 21, after=False)
            try:
                make(tokenizer, source, tmp_path / "out", format=format, **SETTINGS)
                break
            except Crash:
                continue
    assert 1 < tries < 59
    assert contents(tmp_path / "out") == want
    once(tmp_path / "out", source)


def test_encoded_units_are_not_encoded_again(source, tmp_path, monkeypatch):
    tokenizer = lively("spectral")
    inner, encoded = bulk.Pipeline._save, []
    with monkeypatch.context() as m:
        m.setattr(bulk.Pipeline, "_save", lambda self, unit, *a: (encoded.append(unit), inner(self, unit, *a))[1])
        for _ in range(40):
            with m.context() as crash:
                Steps(crash, 12, after=True)
                try:
                    make(tokenizer, source, tmp_path / "out", **SETTINGS)
                    break
                except Crash:
                    pass
    assert sorted(set(encoded)) == list(range(4)) and len(encoded) <= 4 + 4, encoded


# --- full disks -------------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_job_and_loses_nothing(whole, source, tmp_path, monkeypatch):
    format, want = whole
    tokenizer = lively("spectral")
    inner = os.fsync
    for at in (0, 3, 5, 9):
        out = tmp_path / f"out{at}"
        calls = itertools.count()

        def full(handle, calls=calls, at=at):
            if next(calls) >= at:
                raise OSError(errno.ENOSPC, "No space left on device")
            inner(handle)

        with monkeypatch.context() as m:
            m.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                make(tokenizer, source, out, format=format, **SETTINGS)
        assert not list(out.rglob("*.partial")), "a half-written file takes up the space that is missing"
        make(tokenizer, source, out, format=format, **SETTINGS)
        assert contents(out) == want


def test_a_full_disk_in_workers_ends_the_job_with_its_reason(tmp_path, monkeypatch):
    """The fault comes from the worker: other workers are not tried on the same disk."""
    source, model = sounds(tmp_path / "in", 30), saved("spectral", tmp_path / "model")
    make(model, source, tmp_path / "whole", **SETTINGS)
    full = full_for_units(tmp_path, monkeypatch)
    start, started = LocalEngine._start, []
    monkeypatch.setattr(LocalEngine, "_start", lambda self, device: (started.append(device), start(self, device)))
    pace = Pace(workers=2, progress=False)
    with pytest.raises(OSError, match="No space left on device") as caught:
        make(model, source, tmp_path / "out", pace=pace, **SETTINGS)
    assert caught.value.errno == errno.ENOSPC and len(started) == 2
    full.unlink()
    make(model, source, tmp_path / "out", pace=pace, **SETTINGS)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def command(model: str, source, out, *more: str) -> list[str]:
    line = [sys.executable, "-m", "tokenzoo", "tokenize", model, str(source), "-o", str(out), *more]
    return [*line, "--unit-items", "6", "--shard-items", "6"]


ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}


def test_the_system_refuses_to_write(source, tmp_path):
    """No file may grow beyond 3 kB: the job ends with one line, and goes on when there is room."""
    model = saved("spectral", tmp_path / "model")
    # Bytecode is written at import, so the limit is set by a start-up line of Python after all imports.
    code = (
        "import resource, sys\nfrom tokenzoo.zoo.corpus import bulk, assemble, formats\nfrom tokenzoo import cli\n"
        "import tokenzoo.zoo.corpus.formats.parquet, tokenzoo.codecs.audio.spectral\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\nsys.dont_write_bytecode = True\ncli.main()"
    )
    arguments = command(model, source, tmp_path / "out", "--workers", "0")[3:]
    patient = {"env": ENVIRONMENT, "capture_output": True, "timeout": PATIENCE_SECONDS}
    done = subprocess.run([sys.executable, "-c", code, *arguments], text=True, **patient)
    assert done.returncode == 1 and "File too large" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    make(model, source, tmp_path / "whole", **SETTINGS)
    subprocess.run(command(model, source, tmp_path / "out", "--workers", "0"), **patient)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def test_kill_9_of_the_command_and_its_workers(tmp_path):
    source = sounds(tmp_path / "in", 60)
    model = saved("spectral", tmp_path / "model")
    make(model, source, tmp_path / "whole", **SETTINGS)
    out = tmp_path / "out"
    line = command(model, source, out, "--workers", "2")
    plan, units, shards = out / ".work/plan.json", out / ".work/units", out / ".work/shards"
    points = [
        plan.exists,
        lambda: any(units.glob(".*.partial")) or len(list(units.glob("*.arrow"))) > 0,
        lambda: any(out.glob(".shard-*.partial")) or len(list(shards.glob("*.json"))) >= 5,
    ]
    killed = 0
    for point in points:
        process = subprocess.Popen(line, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        killed += kill_when(process, point)
    assert killed >= 2, "the job was over before it could be killed"
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(tmp_path / "whole")
    once(out, source)


@pytest.mark.slow
def test_100_kills_at_random_points(tmp_path):
    """Two workers, all formats; what a folder that was killed again and again holds in the end is compared byte by byte."""
    source = sounds(tmp_path / "in", 160)
    bad_sounds(source / "sub1")
    model, rounds = saved("spectral", tmp_path / "model"), itertools.count()
    killer = Killer(
        tmp_path / "kills",
        20,
        roles={"main": "tokenize", "worker": "tokenzoo.zoo.corpus.worker"},
        begun=lambda out: (out / ".work/plan.json").exists(),
        code=1,  # bad sounds are among the media
    )

    def line(out, format):
        return [*command(model, source, out, "--workers", "2", "--format", format), "--shard-items", "20"]

    whole = {}
    for format in ("parquet", "tar", "megatron", "flat"):
        make(model, source, tmp_path / format, format=format, unit_items=6, shard_items=20)
        whole[format] = contents(tmp_path / format)
    killer.measure(line(tmp_path / "measured", "parquet"), tmp_path / "measured")
    assert contents(tmp_path / "measured") == whole["parquet"]
    assert killer.steps["main"] > 100 and killer.steps["worker"] > 50, "steps are no longer seen"
    while killer.kills.total() < 100:
        number = next(rounds)
        format, out = list(whole)[number % 4], tmp_path / f"out{number}"
        while not killer.run(line(out, format), out):
            pass
        assert contents(out) == whole[format], f"seed {killer.seed}, round {number}, after {killer}"
        once(out, source)
        shutil.rmtree(out)
    assert killer.nothing_is_left()
    assert min(killer.kills[whom] for whom in ("group", "main", "worker")) > 5
    print(f"{killer}, {next(rounds)} completions, all bytes equal")


def ledger(tmp_path, source, **options) -> tuple[Ledger, str]:
    """A planned job that nobody has begun."""
    model = saved("spectral", tmp_path / "model")
    listing = list_source(str(source), "audio")
    settings = Options(unit_items=3, **options)
    tokenizer = bulk.load_tokenizer(model, None, settings)
    head = head_of(tokenizer, model, None, settings) | {"source": source_facts(listing)}
    begin(tmp_path / "out", head, listing)
    return attach(tmp_path / "out"), model


def test_killed_workers_are_replaced(tmp_path):
    source = sounds(tmp_path / "in", 30)
    job, model = ledger(tmp_path, source, shard_items=7)
    engine = LocalEngine(job, 2, 1)
    done = []
    for unit in engine.run(job.todo(0)):
        done.append(unit.unit)
        if len(done) in (1, 4):
            engine.workers[0].process.kill()
    assert sorted(set(done)) == list(range(10)) and len(done) == 10
    make(model, source, tmp_path / "out", unit_items=3, shard_items=7)
    make(model, source, tmp_path / "whole", unit_items=3, shard_items=7)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_process_killed_before_it_begins_is_replaced(tmp_path):
    job, _ = ledger(tmp_path, sounds(tmp_path / "in", 6))
    engine = LocalEngine(job, 1, 1)
    units = engine.run(job.todo(0))
    started, start = [], engine._start

    def start_and_kill(device):
        start(device)
        started.append(engine.workers[-1])
        if len(started) <= 2:
            engine.workers[-1].process.kill()

    engine._start = start_and_kill
    assert sorted(unit.unit for unit in units) == [0, 1] and len(started) == 3


def test_processes_that_cannot_begin_end_the_job(tmp_path, monkeypatch):
    job, _ = ledger(tmp_path, sounds(tmp_path / "in", 3))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(WorkerError, match="code 1 before it could begin"):
        list(LocalEngine(job, 1, 1).run(job.todo(0)))


DEADLY = """
import os, tokenzoo.zoo.corpus.intake as intake
inner = intake.Intake.decode
def decode(self, item):
    if str(getattr(item.blob, "path", "")).endswith("deadly.wav"): os.kill(os.getpid(), 9)
    return inner(self, item)
intake.Intake.decode = decode
"""


def test_an_item_that_kills_its_process_is_a_failure(tmp_path, monkeypatch):
    """As a decoder that crashes, or takes all memory."""
    source = sounds(tmp_path / "in", 8)
    shutil.copy(source / "sub0/s00.wav", source / "sub1/deadly.wav")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}")
    pace = Pace(workers=1, readers=1, progress=False)
    result = make(saved("spectral", tmp_path / "model"), source, tmp_path / "out", pace=pace)
    assert [(f["key"], f["reason"]) for f in result.failures] == [
        ("sub1/deadly.wav", "WorkerDied: the process that read it was ended by signal 9")
    ]
    assert result.manifest["totals"]["items"] == 8
    once(tmp_path / "out", source)


def test_a_worker_whose_parent_is_gone_encodes_nothing(tmp_path):
    """Also where the parent was killed before its worker looked who that is."""
    job, _ = ledger(tmp_path, sounds(tmp_path / "in", 6))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(PATIENCE_SECONDS)
    line = [sys.executable, "-m", "tokenzoo.zoo.corpus.worker", str(job.out), "--parent", str(gone.pid)]
    orders = '{"unit": 0, "careful": false, "skip": []}\n'
    done = subprocess.run(line, env=ENVIRONMENT, input=orders, text=True, capture_output=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 1 and not done.stderr
    assert job.todo(0) == [0, 1]


def test_workers_that_cannot_start_end_the_job(tmp_path, monkeypatch):
    job, _ = ledger(tmp_path, sounds(tmp_path / "in", 4))
    (tmp_path / "model/model.safetensors").write_bytes(b"")
    with pytest.raises(WorkerError, match="before it could begin"):
        list(LocalEngine(job, 1, 1).run(job.todo(0)))


# --- several ranks -----------------------------------------------------------------------------------------------------


def test_ranks_share_a_ledger(tmp_path):
    """As `torchrun` and `accelerate launch` start them; the second rank is killed once and comes back alone."""
    source = sounds(tmp_path / "in", 40)
    model = saved("spectral", tmp_path / "model")
    make(model, source, tmp_path / "whole", **SETTINGS)
    out = tmp_path / "out"

    def rank(number: int) -> subprocess.Popen:
        own = ENVIRONMENT | {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
        return subprocess.Popen(command(model, source, out), env=own, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    ranks = [rank(0), rank(1)]
    assert kill_when(ranks[1], lambda: (out / ".work/units").is_dir())
    ranks[1].communicate()
    ranks[1] = rank(1)
    for process in ranks:
        text = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, text
    assert contents(out) == contents(tmp_path / "whole")
    assert json.loads((out / "manifest.json").read_text())["totals"]["items"] == 40
