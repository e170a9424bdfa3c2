"""Processes on this machine that train together (gloo, CPU)."""

import os
import socket
import subprocess
import sys

from waiting import PATIENCE_SECONDS

#: A script that trains the run files of its arguments, one after the other.
TRAIN = """
import sys, torch.distributed as dist
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer

for path in sys.argv[1:]:
    Trainer(load_run(path)).run()
dist.barrier()  # a process that leaves first takes connections away that the other still reads
dist.destroy_process_group()
"""


def run_two(script: str, *arguments: object, world: int = 2) -> list[str]:
    """Run a script of Python as ranks 0 to `world` - 1 of one group; what each wrote to its error output. All must end with code 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", script, *map(str, arguments)]
    processes = [
        subprocess.Popen(command, env=shared | {"RANK": str(r), "LOCAL_RANK": str(r)}, stderr=subprocess.PIPE, text=True)
        for r in range(world)
    ]
    texts = [p.communicate(timeout=PATIENCE_SECONDS)[1] for p in processes]
    assert [p.returncode for p in processes] == [0] * world, "\n".join(texts)
    return texts
