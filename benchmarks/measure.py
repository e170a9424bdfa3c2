"""What the comparisons share: times of calls that take turns, peak memory of a process, and the committed table.

times = take_turns({"ours": call, "peer": other}, seconds=20)     # {"ours_ms": ..., "ours_cpu_ms": ..., "rounds": ...}
before = resident(); with watched() as peak: call()                # then (peak.bytes - before) / 2**20 megabytes
in_process(__file__, "--memory", "case")                           # a separate process; returns the JSON that it prints
write("audio", head, results, page)                                # benchmarks/results/audio.{json,md}
"""

import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenzoo.zoo.bench.memory import resident as resident
from tokenzoo.zoo.bench.memory import watched as watched

RESULTS = Path(__file__).parent / "results"
MEMORY_LIMIT = 10 * 2**30  # a process that needs more fails alone, and the table notes it


# --- times --------------------------------------------------------------------------------------------------------------


def take_turns(
    calls: Mapping[str, Callable[[], Any]], *, seconds: float, least: int = 3, most: int = 200, warm: bool = True
) -> dict[str, Any]:
    """Median times of calls that take turns, after one call of each that does not count.

    Whatever else the machine does in between then slows all of them alike.

    Args:
        calls: by name.
        seconds: stop after the first round that ends later than this.
        least, most: rounds, whatever the time.
        warm: call each once before; False where that has been done.

    Returns:
        `NAME_ms`, wall time, and `NAME_cpu_ms`, processor time of all threads, for each name; `rounds`.
    """
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values() if warm else ():
        call()
    start, rounds = time.perf_counter(), 0
    while rounds < least or (time.perf_counter() - start < seconds and rounds < most):
        for name, call in calls.items():
            begin, used = time.perf_counter(), time.process_time()
            call()
            wall[name].append((time.perf_counter() - begin) * 1e3)
            cpu[name].append((time.process_time() - used) * 1e3)
        rounds += 1
    out: dict[str, Any] = {"rounds": rounds}
    for unit, times in (("ms", wall), ("cpu_ms", cpu)):
        out |= {f"{name}_{unit}": statistics.median(values) for name, values in times.items()}
    return out


# --- memory -------------------------------------------------------------------------------------------------------------


def limit_memory(size: int = MEMORY_LIMIT) -> None:
    """Let this process fail where it would take more than `size` bytes."""
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def in_process(script: str, *arguments: str, bound: bool = True) -> Any:
    """Run `script` with `arguments` in a separate process; the JSON it prints last, or what went wrong as a string.

    `bound`: OpenMP's threads are bound to a core each there: Linux sometimes keeps all on one, and two take as long as one. Not where
    the process starts others, which would all be bound to the first core.
    """
    own = {"OMP_PROC_BIND": "true"} | os.environ if bound else None
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False, env=own)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    lines = done.stderr.strip().splitlines()
    memory = done.returncode < 0 or any(word in done.stderr for word in ("MemoryError", "allocate memory", "bad_alloc"))
    return f"> {MEMORY_LIMIT >> 30} GB" if memory else (lines[-1] if lines else f"exit {done.returncode}")


# --- reporting ----------------------------------------------------------------------------------------------------------


def header(script: str, *, threads: int, packages: Sequence[str], options: Sequence[str] | None = None) -> dict[str, Any]:
    """Where, when and how this was measured: call it before measuring, for the load average.

    Args:
        script: `__file__` of the benchmark.
        packages: distributions whose versions count.
        options: of the command that gives the whole table, where it may run in parts; None: those of this call.
    """
    given = sys.argv[1:] if options is None else options
    model = next((x.split(":")[1].strip() for x in _cpu_lines() if x.startswith("model name")), platform.processor())
    return {
        "date": datetime.date.today().isoformat(),
        # folders by name: paths of this machine stay out of results
        "command": " ".join(["python", f"benchmarks/{Path(script).name}", *(Path(a).name if "/" in a else a for a in given)]),
        "device": f"CPU, {model}, {os.cpu_count()} cores",
        "threads": threads,
        "dtype": "float32",
        "load_average_before": round(os.getloadavg()[0], 2),
        "versions": {p: version(p) for p in packages} | {"python": platform.python_version()},
    }


def _cpu_lines() -> list[str]:
    """Lines of the processor's description, where there is one."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def head_lines(title: str, about: str, head: Mapping[str, Any]) -> list[str]:
    """First lines of the committed page: title, how it was measured, the header's facts."""
    lines = [f"# {title}", "", " ".join(about.split()), ""]
    lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in head.items() if key != "versions"]
    return [*lines, "- versions: " + ", ".join(f"{k} {v}" for k, v in head["versions"].items()), ""]


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *(f"| {' | '.join(row)} |" for row in rows)]


def show(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)


def write(
    name: str, head: Mapping[str, Any], results: Sequence[Mapping[str, Any]], lines: Sequence[str], folder: Path = RESULTS
) -> None:
    """Write `NAME.json` and the page `NAME.md` to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({**head, "results": list(results)}, indent=1) + "\n")
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


def kept_rows(name: str, head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results that `NAME.json` holds, where they were measured on this device with the same threads and versions; else none."""
    file = RESULTS / f"{name}.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return kept["results"] if all(kept.get(key) == head[key] for key in ("device", "threads", "dtype", "versions")) else []


def merged(kept: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kept rows with those that were measured again, by case and batch, in the order of the kept ones; `new` where none are kept."""
    found = {(r["case"], r["batch"]): r for r in new}
    return [*(found.pop((r["case"], r["batch"]), r) for r in kept), *found.values()]
