"""One folder, one training: the second is refused and changes nothing, and a killed run blocks none.

    pytest tests/train/test_two_runs.py
"""

import os
import signal
import subprocess
import sys

import pytest
from tokenzoo.codecs.locks import InUse, only_one
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer
from train_media import image_run, write_pictures
from waiting import PATIENCE_SECONDS

#: Holds the folder, says so, and leaves a forked child that outlives it.
HOLDER = """
import os, sys, time
from tokenzoo.codecs.locks import only_one

with only_one(sys.argv[1], ".lock"):
    child = os.fork()
    if child == 0:
        sys.stdout.close()
        time.sleep(int(sys.argv[2]))
        os._exit(0)
    print(child, flush=True)
    time.sleep(int(sys.argv[2]))
"""


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_second_training_is_refused_and_changes_nothing(tmp_path, monkeypatch):
    pictures, out = write_pictures(tmp_path / "pictures"), tmp_path / "out"
    run = image_run(pictures, out, steps=2)
    first = Trainer(parse_run(run))
    step, refused = first.train_step, []

    def meanwhile(feed):
        (out / ".mine.partial").write_text("being written")  # a second run would sweep it away
        before = files(out)
        with pytest.raises(InUse, match=f"another process works on {out}"):
            Trainer(parse_run(run)).run()
        assert files(out) == before
        (out / ".mine.partial").unlink()
        refused.append(True)
        return step(feed)

    monkeypatch.setattr(first, "train_step", meanwhile)
    assert first.run().step == 2
    assert len(refused) == 2
    assert not list(out.glob(".*"))
    assert Trainer(parse_run(run | {"steps": 3})).run().step == 3


@pytest.mark.skipif(os.name != "posix", reason="locks between processes are those of POSIX")
def test_a_running_process_blocks_and_a_killed_one_does_not(tmp_path):
    pictures, out = write_pictures(tmp_path / "pictures"), tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", HOLDER, str(out), str(PATIENCE_SECONDS)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        try:
            run = image_run(pictures, out, steps=1)
            with pytest.raises(InUse, match="wait for it, or stop it first"):
                Trainer(parse_run(run)).run()
            assert [p.name for p in out.iterdir()] == [".lock"]
            holder.send_signal(signal.SIGKILL)
            holder.wait(PATIENCE_SECONDS)
            os.kill(child, 0)  # the fork is still there, as a worker of a killed run may be
            assert Trainer(parse_run(run)).run().step == 1
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)
    assert not list(out.glob(".*"))


def test_a_lock_ends_with_its_block_and_takes_its_own_folder_along(tmp_path):
    for name in (".lock", "work/.lock"):
        with pytest.raises(KeyError), only_one(tmp_path / "out", name):
            assert (tmp_path / "out" / name).is_file()
            raise KeyError
        assert not list((tmp_path / "out").iterdir())
    with only_one(tmp_path / "out", "work/.lock"):
        (tmp_path / "out" / "work" / "plan").write_text("kept")
    assert [p.name for p in (tmp_path / "out" / "work").iterdir()] == ["plan"]
