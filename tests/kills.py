"""A command that is killed (SIGKILL) at seeded random points, again and again, until it gets to its end.

A point is a moment (a share of the time that an undisturbed run takes), or a step that changes the disk (the n-th below the output
folder, before or after it happens). What is killed is the whole process group, the main process alone, or one of its workers.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from waiting import PATIENCE_SECONDS

#: Imported by Python before anything else: counts the steps that change the disk, and kills at one of them.
HOOK = '''
import json, os, signal, sys, threading

PLAN = json.loads(os.environ["TEST_KILLS"])
ROLE = next((r for r, word in PLAN["roles"].items() if word in sys.orig_argv), None)
guard, count = threading.Lock(), 0


def place(value):
    try:
        return os.readlink(f"/proc/self/fd/{value}") if isinstance(value, int) else os.path.abspath(os.fspath(value))
    except (OSError, TypeError):
        return ""


def kill():
    try:  # once in a run, whichever process comes first
        os.close(os.open(PLAN["spent"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    if PLAN["whom"] == "group":
        assert os.getpgid(0) != PLAN["keep"]
        os.killpg(os.getpgid(0), signal.SIGKILL)
    else:
        os.kill(os.getppid() if PLAN["whom"] == "parent" else os.getpid(), signal.SIGKILL)


def wrap(name):
    step = getattr(os, name)

    def stepped(path, *rest, **options):
        global count
        if not place(path).startswith(PLAN["below"]):
            return step(path, *rest, **options)
        with guard:
            number, count = count, count + 1
        with open(PLAN["tally"], "a") as tally:
            tally.write(ROLE + "\\n")
        due = ROLE == PLAN["role"] and number == PLAN["number"]
        if due and not PLAN["after"]:
            kill()
        result = step(path, *rest, **options)
        if due and PLAN["after"]:
            kill()
        return result

    setattr(os, name, stepped)


if ROLE:
    for name in ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir"):
        wrap(name)
'''


@dataclass
class Killer:
    """Starts one command again and again, and kills it.

    Args:
        folder: for own files.
        seed: of all that is drawn.
        roles: names of processes -> the argument by which each is known, "main" first.
        begun: whether the work on an output folder has begun; before that a process only imports.
        code: exit code of a run that ends by itself.

    Attributes:
        kills: how often each was killed: "group", "main", "worker".
        points: "moment" or "step" -> number of kills.
    """

    folder: Path
    seed: int
    roles: dict[str, str]
    begun: Callable[[Path], bool]
    code: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        (self.folder / "site").mkdir(parents=True)
        (self.folder / "site/sitecustomize.py").write_text(HOOK)
        self.steps: Counter[str] = Counter()
        self.before = self.after = 0.0
        self.groups: list[int] = []

    def measure(self, command: Sequence[str], out: Path) -> None:
        """An undisturbed run: how long it takes until it begins and from there on, and how many steps change the disk."""
        start = time.monotonic()
        process = self._start(command, out)
        self._wait_until_begun(process, out)
        middle = time.monotonic()
        process.wait(PATIENCE_SECONDS)
        self.before, self.after = middle - start, time.monotonic() - middle
        self._check_end(process)
        self.steps = Counter((self.folder / "tally").read_text().split())

    def run(self, command: Sequence[str], out: Path) -> bool:
        """Start the command once; False where it, or its main process, was killed."""
        at_step, whom = self.rng.random() < 0.5, ""
        if at_step:
            role = self.rng.choice(list(self.roles))
            whom = self.rng.choice(["group", "self"] if role == "main" else ["group", "self", "self", "parent"])
            number = self.rng.randrange(max(1, self.steps[role] // (1 if role == "main" else 2)))
            process = self._start(command, out, role=role, number=number, whom=whom, after=self.rng.random() < 0.5)
            whom = {"self": role, "parent": "main", "group": "group"}[whom]
        else:
            process = self._start(command, out)
            for _ in range(3):  # no more: an item whose readers die three times is given up
                if not self._kill_at_a_moment(process, out):
                    break
        process.wait(PATIENCE_SECONDS)
        if at_step and (self.folder / "spent").exists():
            self._note(whom, "step")
        if process.returncode == -signal.SIGKILL:
            return False
        self._check_end(process)
        return True

    def _kill_at_a_moment(self, process: subprocess.Popen[bytes], out: Path) -> bool:
        """Wait for a random time and kill; True where that was a worker, whose death ends nothing."""
        if self.rng.random() < 0.3:
            delay = self.rng.random() * self.before
        else:
            self._wait_until_begun(process, out)
            delay = self.rng.random() * self.after
        whom = self.rng.choice(["group", "main", *(["worker"] * ("worker" in self.roles))])
        try:
            process.wait(delay)
            return False
        except subprocess.TimeoutExpired:
            pass
        if whom == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif whom == "main":
            process.kill()
        else:
            workers = [pid for pid in children(process.pid) if self.roles["worker"] in arguments(pid)]
            if not workers:
                return True
            os.kill(self.rng.choice(workers), signal.SIGKILL)
        self._note(whom, "moment")
        return whom == "worker"

    def _note(self, whom: str, point: str) -> None:
        self.kills[whom] += 1
        self.points[point] += 1

    def _start(self, command: Sequence[str], out: Path, **point: object) -> subprocess.Popen[bytes]:
        files = {name: str(self.folder / name) for name in ("spent", "tally")}
        for path in files.values():
            Path(path).unlink(missing_ok=True)
        plan = {"roles": self.roles, "below": str(out), "keep": os.getpgid(0), "role": None, "number": -1, "whom": "", "after": False}
        path = os.pathsep.join([str(self.folder / "site"), *filter(None, sys.path)])
        environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TEST_KILLS": json.dumps(plan | files | point)}
        with (self.folder / "errors").open("wb") as errors:  # a file: who outlives the main process would keep a pipe open
            process = subprocess.Popen(
                command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )
        self.groups.append(process.pid)
        return process

    def _wait_until_begun(self, process: subprocess.Popen[bytes], out: Path) -> None:
        while not self.begun(out) and process.poll() is None:
            time.sleep(0.002)

    def _check_end(self, process: subprocess.Popen[bytes]) -> None:
        text = (self.folder / "errors").read_text(errors="replace")
        assert process.returncode == self.code, f"seed {self.seed}, after {self}: code {process.returncode}, {text}"

    def nothing_is_left(self) -> bool:
        """Whether all processes that were started are gone; those whose parent was killed end by themselves soon."""
        end = time.monotonic() + PATIENCE_SECONDS
        while alive := [g for g in self.groups if members(g)]:
            if time.monotonic() > end:
                return False
            self.groups = alive
            time.sleep(0.05)
        self.groups = []
        return True

    def __str__(self) -> str:
        kills = ", ".join(f"{n} of {whom}" for whom, n in sorted(self.kills.items()))
        points = ", ".join(f"{n} at a {kind}" for kind, n in sorted(self.points.items()))
        return f"{self.kills.total()} kills ({kills}; {points})"


def _status(pid: int) -> list[str]:
    """State, parent and group of a process, as the system lists them; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return []


def running(pid: int) -> bool:
    """Whether a process is there and does something."""
    return _status(pid)[:1] not in ([], ["Z"])


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children(parent: int) -> list[int]:
    """Process numbers of the direct children that run."""
    return [pid for pid in _processes() if running(pid) and _status(pid)[1:2] == [str(parent)]]


def members(group: int) -> list[int]:
    """Process numbers of a process group that run."""
    return [pid for pid in _processes() if running(pid) and _status(pid)[2:3] == [str(group)]]


def arguments(pid: int) -> list[str]:
    """The command line of a process; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def descendants(parent: int) -> list[int]:
    """Process numbers of children that run, of theirs, and so on."""
    parents = {pid: _status(pid)[1:2] for pid in _processes() if running(pid)}
    found = [parent]
    for above in found:
        found += [pid for pid, p in parents.items() if p == [str(above)]]
    return found[1:]
