"""Cold starts: how long a new process takes until it answers.

    python benchmarks/cold.py                  all, about a minute
    python benchmarks/cold.py --rounds 3       fewer rounds

Each row is a process of its own, from its start to its end, that takes turns with a Python process that does nothing; median wall and
processor time, with files in the page cache. Rows with a target state it: seconds that the whole process may take.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from measure import head_lines, header, show, table_lines, write

#: Row -> arguments of Python, and seconds that it may take (0: none set).
ROWS: dict[str, tuple[list[str], float]] = {
    "python -c pass": (["-c", "pass"], 0),
    "import tokenzoo": (["-c", "import tokenzoo"], 0.1),
    "import torch": (["-c", "import torch"], 0),
    "tokenzoo --help": (["-m", "tokenzoo", "--help"], 0.5),
    "tokenzoo list": (["-m", "tokenzoo", "list"], 0.5),
    "tokenzoo info mimi": (["-m", "tokenzoo", "info", "mimi"], 0.5),
    "load speech-16khz-4kbps, first ids": (
        ["-c", "import tokenzoo, numpy as np; tokenzoo.load('speech-16khz-4kbps').encode((np.ones(16000, np.float32) / 9, 16000))"],
        2.0,
    ),
    "load photo-f16-rvq7, first ids": (
        ["-c", "import tokenzoo, numpy as np; tokenzoo.load('photo-f16-rvq7').encode(np.full((256, 256, 3), 99, np.uint8))"],
        0,
    ),
}
COLUMNS = ("process", "wall s", "processor s", "may take s")


def once(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one process.

    Raises:
        RuntimeError: it failed.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=os.environ.get("TMPDIR", "/"))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed: {done.stderr.strip()[-300:]}")
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(rounds: int) -> list[dict[str, Any]]:
    """Medians of all rows, after one round that does not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ROWS}
    for number in range(rounds + 1):
        for name, (arguments, _) in ROWS.items():
            found = once(arguments)
            if number:
                times[name].append(found)
    out = []
    for name, (_, target) in ROWS.items():
        wall, cpu = (statistics.median(t[i] for t in times[name]) for i in (0, 1))
        out.append({"process": name, "seconds": wall, "cpu_seconds": cpu, "rounds": rounds, "target_seconds": target})
    return out


def main() -> None:
    """Measure, print, and write the committed table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    head = header(__file__, threads=os.cpu_count() or 1, packages=("torch", "typer", "rich"))
    results = measure(given.rounds)
    rows = [
        [r["process"], f"{r['seconds']:.2f}", f"{r['cpu_seconds']:.2f}", f"{r['target_seconds']:g}" if r["target_seconds"] else ""]
        for r in results
    ]
    show(COLUMNS, rows)
    about = (__doc__ or "").split("\n\n")[-1]
    write("cold", head, results, head_lines("Cold starts", about, head) + table_lines(COLUMNS, rows))


if __name__ == "__main__":
    main()
