"""`benchmarks/accelerator.py` in toy sizes on a CPU: its sections run, and outlive each other. Run: pytest THIS"""

import json
import os
import subprocess
import sys
from pathlib import Path

import waiting

SCRIPT = Path(__file__).parents[1] / "benchmarks/accelerator.py"
#: A process of its sections that still has `train` before it dies at once, as one does whose device was lost.
DIES = "import os, sys\nif '--work' in sys.argv and 'train' in sys.argv:\n    os._exit(9)\n"


def test_sections_give_rows_and_outlive_each_other(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(DIES)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(tmp_path), "--only", "train", "ids", "search", "stream"]
        + ["--forms", "mimi", "vqgan", "no-such-form"],
        capture_output=True,
        text=True,
        timeout=waiting.PATIENCE_SECONDS,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "accelerator.json").read_text())["results"]
    page = (tmp_path / "accelerator.md").read_text()
    train, ids, search, stream = ([r for r in rows if r["section"] == name] for name in ("train", "ids", "search", "stream"))
    assert [r["error"] for r in train] == ["the process ended with code 9"]
    assert "code 9" in page and "2 of 2 tiny forms: all ids equal" in page and "no-such-form, tiny: KeyError" in page

    assert len(ids) == 3 and "no-such-form" in ids[2]["error"]
    for row in ids[:2]:
        assert row["ids"] == row["search"] == 1 and row["same_from_host"] and row["on_device"] and row["decoded"] == 0, row
        assert row["distinct"] > 3
    assert {r["case"] for r in search} == {"vq-64x8", "fsq-64k"}
    assert all(r["ids"] == 1 and r["ours_ms"] > 0 and (r["case"] != "vq-64x8" or r["matmul_ms"] > 0) for r in search)
    assert {(r["rows"], r["state"]) for r in stream} == {(n, s) for n in (1, 2) for s in ("growing", "ring")}
    assert all(r["encode_ms"] > 0 and r["decode_ms"] > 0 for r in stream)
