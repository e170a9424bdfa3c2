"""How long tests wait for what must happen: never a measure of speed, so that a machine ten times slower passes too."""

import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

#: For processes, files and servers that are sure to come; reached only where something is broken.
PATIENCE_SECONDS = 1200


def kill_when(process: subprocess.Popen[Any], condition: Callable[[], Any]) -> bool:
    """SIGKILL as soon as `condition` holds; False where the process was over before."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    return process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
