"""Jobs on Ray: an actor, or the process that started the job, killed; a full disk; what listens on the network.

    pytest tests/zoo/corpus/test_ray.py -m slow              # needs the extra `ray`
"""

import contextlib
import ipaddress
import os
import random
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from corpus_cases import bad_sounds, contents, full_for_units, make, saved, sounds
from kills import arguments, descendants, running
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo.corpus import Pace, bulk, ray_engine
from waiting import PATIENCE_SECONDS, kill_when

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")]

SETTINGS = {"unit_items": 3, "shard_items": 7}
PACE = Pace(engine="ray", workers=2, progress=False, ray={"num_cpus": 2})


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Media, a tokenizer, and what the local engine makes of them."""
    root = tmp_path_factory.mktemp("job")
    source = sounds(root / "in", 90)
    bad_sounds(source / "sub1")
    model = saved("spectral", root / "model")
    make(model, source, root / "whole", **SETTINGS)
    return model, source, contents(root / "whole")


@pytest.fixture
def short():
    """A folder with a short name: those of Ray's sockets may have 107 letters."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What Ray's processes inherit; no cluster of this machine is used."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    ray.shutdown()


def command(job, out) -> list[str]:
    line = [sys.executable, "-m", "tokenzoo", "tokenize", job[0], str(job[1]), "-o", str(out), "--engine", "ray", "--workers", "2"]
    return [*line, "--unit-items", "3", "--shard-items", "7"]


def actors(parent: int) -> list[int]:
    """The processes that encode, as they call themselves."""
    return [pid for pid in descendants(parent) if name(pid).startswith("ray::") and "EncodeUnits" in name(pid)]


def name(pid: int) -> str:
    """What a process is called in the list of processes, without folders; empty where it is gone."""
    return Path((arguments(pid) or [""])[0]).name


def gone(processes) -> bool:
    """Whether all of them end by themselves."""
    end = time.monotonic() + PATIENCE_SECONDS
    while any(map(running, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def during(monkeypatch, act) -> list[int]:
    """Call `act(n)` after the n-th unit of a job in this process; returns the list of units seen."""
    add, seen = bulk.Progress.add, []

    def added(self, items, tokens, failed):
        add(self, items, tokens, failed)
        seen.append(items + failed)
        act(len(seen))

    monkeypatch.setattr(bulk.Progress, "add", added)
    return seen


# --- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_actors_are_replaced(job, tmp_path, monkeypatch, seed):
    draw, killed = random.Random(seed), []
    points = sorted(draw.sample(range(1, 25), 3))

    def kill(unit):
        if unit in points and (running := actors(os.getpid())):
            killed.append(draw.choice(running))
            os.kill(killed[-1], signal.SIGKILL)

    seen = during(monkeypatch, kill)
    make(job[0], job[1], tmp_path / "out", pace=PACE, **SETTINGS)
    assert len(killed) >= 2 and sum(seen) == 101
    assert contents(tmp_path / "out") == job[2]
    print(f"{len(killed)} actors killed, after units {points}; all bytes equal")


def test_the_job_killed_and_started_again(job, tmp_path):
    """After seeded numbers of units, and started again at once; what Ray started ends with it."""
    draw, kills, rounds = random.Random(3), 0, 0
    agents: set[int] = set()
    while kills < 6:
        out = tmp_path / f"out{rounds}"
        for limit in (encoded(out) + draw.randrange(1, 9) for _ in range(3)):
            process = subprocess.Popen(command(job, out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            started: dict[int, str] = {}

            def reached(limit=limit, out=out, process=process, started=started):
                started.update({pid: name(pid) for pid in descendants(process.pid)})
                return encoded(out) >= limit

            kills += kill_when(process, reached)
            agents |= {pid for pid, what in started.items() if what.endswith("Agent")}
            assert "raylet" in started.values() and gone(started.keys() - agents), "Ray's processes outlive the job"
        subprocess.run(command(job, out), capture_output=True, timeout=PATIENCE_SECONDS)
        assert contents(out) == job[2]
        rounds += 1
    assert gone(agents)  # they take about a minute to notice
    print(f"{kills} kills, {rounds} completions, all bytes equal")


def encoded(out) -> int:
    """Units that were encoded, in files of their own or in shards."""
    return len(list(out.glob(".work/units/*.arrow"))) + 2 * len(list(out.glob(".work/shards/*.json")))


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_loses_nothing(job, tmp_path, monkeypatch):
    full = full_for_units(tmp_path, monkeypatch)
    patient = {"capture_output": True, "text": True, "timeout": PATIENCE_SECONDS}
    done = subprocess.run(command(job, tmp_path / "out"), **patient)
    assert done.returncode == 1 and "error: No space left on device" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list((tmp_path / "out").rglob("*.partial")), "a half-written file takes up the space that is missing"
    assert encoded(tmp_path / "out") > 0
    full.unlink()
    subprocess.run(command(job, tmp_path / "out"), **patient)
    assert contents(tmp_path / "out") == job[2]


# --- what listens -----------------------------------------------------------------------------------------------------


def listening(pid: int) -> set[str]:
    """Addresses at which a process waits for connections."""
    sockets = {}
    for kind, size in (("tcp", 4), ("tcp6", 16)):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # LISTEN
                sockets[fields[9]] = address(fields[1].partition(":")[0], size)
    found = set()
    with contextlib.suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                number = os.readlink(handle).removeprefix("socket:[").rstrip("]")
                found |= {sockets[number]} if number in sockets else set()
    return found


def address(text: str, size: int) -> str:
    """The kernel writes addresses as words of the machine's own byte order."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    ip = ipaddress.ip_address(struct.pack(f"={size // 4}I", *words))
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def test_other_machines_cannot_connect(job, tmp_path, monkeypatch):
    found: dict[str, set[str]] = {}

    def look(unit):
        for pid in [os.getpid(), *descendants(os.getpid())]:
            if places := listening(pid):
                found.setdefault(name(pid), set()).update(places)

    seen = during(monkeypatch, look)
    make(job[0], job[1], tmp_path / "out", pace=PACE, **SETTINGS)
    assert seen and {"gcs_server", "raylet"} <= found.keys() and any("EncodeUnits" in n for n in found), found
    assert all(ipaddress.ip_address(a).is_loopback for places in found.values() for a in places), found
    assert not ray.is_initialized() and "raylet" not in map(name, descendants(os.getpid()))
    print(f"{len(found)} kinds of processes listen, all at {sorted(set().union(*found.values()))}: {sorted(found)}")


def test_sockets_at_other_addresses_are_seen():
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        assert "0.0.0.0" in listening(os.getpid())


def test_a_ray_that_others_can_reach_is_stopped(monkeypatch):
    monkeypatch.setattr(ray_engine, "_loopback", contextlib.nullcontext)
    if ipaddress.ip_address(ray.util.get_node_ip_address()).is_loopback:
        pytest.skip("this machine has no other address")
    with pytest.raises(ConfigError, match="which other machines may reach"):
        ray_engine.connect(ray, {"num_cpus": 1})
    assert not ray.is_initialized()


def test_a_cluster_that_runs_already_is_used_as_it_is(job, tmp_path, monkeypatch, short):
    own = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind((own, 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", "--include-dashboard=false"]
    line += [f"--node-ip-address={own}", f"--port={port}", f"--temp-dir={short}"]
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # of versions that know it
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    head = subprocess.Popen(line, **quiet)
    try:
        until_it_answers(head, own, port)
        begun = subprocess.Popen(command(job, tmp_path / "out"), env=os.environ | {"RAY_ADDRESS": f"{own}:{port}"}, **quiet)
        started: set[str] = set()
        while begun.poll() is None:
            started |= {name(pid) for pid in descendants(begun.pid)}
            time.sleep(0.1)
        assert head.poll() is None and "raylet" in {name(pid) for pid in descendants(head.pid)}, "the cluster is the user's: it stays"
        assert not {"raylet", "gcs_server"} & started
    finally:
        inside = [head.pid, *descendants(head.pid)]
        for pid in inside:  # SIGTERM would take a minute
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        head.wait(PATIENCE_SECONDS)
        assert gone(inside)
    assert contents(tmp_path / "out") == job[2]


def until_it_answers(process, host, port) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((host, port)):
            return
        time.sleep(0.2)
    raise AssertionError("the cluster did not start")
