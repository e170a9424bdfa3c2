"""Every benchmark can be started: what it imports exists. Run: pytest tests/test_benchmarks.py"""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(p.name for p in FOLDER.glob("*.py"))
#: Imports each script as its own folder's programs do, peers left out; one process, for PyTorch takes seconds to load.
IMPORT_ALL = """
import importlib, sys, traceback
sys.path.insert(0, sys.argv.pop())
for name in sys.argv[1:]:
    try:
        importlib.import_module(name.removesuffix(".py"))
    except Exception:
        print(name, traceback.format_exc())
"""


def test_every_benchmark_is_importable():
    if not SCRIPTS:
        pytest.skip("the benchmarks are not part of this copy")
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, *SCRIPTS, str(FOLDER)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr
