"""Scripts that run in a process of their own, where the peak of memory is theirs."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")

SETUP = """
import json, sys
import torch, tokenzoo
from pathlib import Path

def peak():
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

family, config, setting = json.loads(sys.argv[1])
torch.set_num_threads(1)
torch.manual_seed(0)
tokenizer = tokenzoo.build_tokenizer(family, config).eval()
"""


def run(script: str, family: str, config: dict[str, Any], setting: float, **environment: str) -> Any:
    """What `script` prints last, as JSON; it has `tokenizer`, `setting`, `peak()` in megabytes, and the modules above."""
    return run_script(SETUP + script, json.dumps([family, config, setting]), **environment)


def run_script(script: str, *arguments: str, **environment: str) -> Any:
    """What the script prints last, as JSON."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
