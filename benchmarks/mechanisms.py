"""What each training mechanism does: the effect tests, run as tests, and their figures as one table.

    python benchmarks/mechanisms.py                              all, about half an hour on one core: results/mechanisms.{json,md}
    python benchmarks/mechanisms.py -k karl                      some, printed only; arguments are pytest's
    python benchmarks/mechanisms.py --keep lines.jsonl -k karl   in parts: the table is that of all figures in this file

Each test trains a bundled `*-debug` run or a small recipe twice on the photograph or the speech of `zoo/demo/media`, with the mechanism
and without it, compares both on what neither saw, and fails where the effect is missing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import head_lines, header, show, table_lines, write

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("effect", "figure", "with", "without", "test")


def main() -> int:
    """Run the tests, and write or print the table; returns pytest's status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="file of the figures, one JSON line each; those of earlier parts are kept")
    given, chosen = parser.parse_known_args()
    head = header(__file__, threads=1, packages=("torch", "numpy"))
    with tempfile.TemporaryDirectory() as folder:
        lines = (given.keep or Path(folder) / "effects.jsonl").resolve()
        status = _run_tests(lines, chosen)
        rows = latest(lines.read_text().splitlines()) if lines.is_file() else []
    table = [[str(row[c]) if isinstance(row[c], str) else f"{row[c]:.4g}" for c in COLUMNS] for row in rows]
    if status or (chosen and given.keep is None):
        show(COLUMNS, table)
        return status
    head["command"] = f"python benchmarks/{Path(__file__).name}"  # also where it ran in parts
    about = (__doc__ or "").rpartition("\n\n")[2]
    write("mechanisms", head, rows, head_lines("Mechanisms: with and without", about, head) + table_lines(COLUMNS, table))
    return 0


def _run_tests(lines: Path, chosen: list[str]) -> int:
    """Run the tests marked `effect` in a process whose figures go to `lines`; returns its status."""
    command = [sys.executable, "-m", "pytest", "-m", "effect", "-s", "-p", "no:cacheprovider", "tests", *chosen]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"TOKENZOO_EFFECTS": str(lines), "OMP_NUM_THREADS": "1"}).returncode


def latest(lines: list[str]) -> list[dict[str, str | float]]:
    """The rows of JSON lines; of those with the same effect, figure and test the last, in the order of the tests."""
    rows = [json.loads(line) for line in lines]
    return sorted({(r["test"], r["effect"], r["figure"]): r for r in rows}.values(), key=lambda r: r["test"])


if __name__ == "__main__":
    raise SystemExit(main())
