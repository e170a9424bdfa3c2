"""A checkpoint that was damaged is never used: the one before is, and one message names the file. A full disk loses nothing.

    pytest tests/train/test_damage.py
"""

import errno
import random
import shutil

import pytest
import torch
import yaml
from tokenzoo.codecs.serialize import CheckpointError, load_folder
from tokenzoo.train import checkpoint, resume
from tokenzoo.train.__main__ import main
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train
from tokenzoo.train.pretrained import open_pretrained
from train_media import as_format_1, assert_equal, image_run, write_pictures

NEWEST, BEFORE = "checkpoint-00000002", "checkpoint-00000001"
FILES = ("state.pt", "rank-0.pt", "meta.json")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 4)


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
    """Two steps with a checkpoint each."""
    out = tmp_path_factory.mktemp("finished")
    train(parse_run(run_of(pictures, out, steps=2)))
    return out


@pytest.fixture
def out(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "out")


def run_of(pictures, out, *, steps):
    run = image_run(pictures, out, steps=steps, batch_size=2, every={"log": 1, "checkpoint": 1, "preview": 0, "validate": 0})
    run["model"]["config"] |= {"widths": [4, 4]}
    return run


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:70] + bytes([data[70] ^ 4]) + data[71:]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spoil", [cut, flipped, lambda data: b"", None], ids=["cut", "one bit", "empty", "missing"])
def test_the_one_before_is_used_and_the_damaged_file_named(pictures, finished, out, capsys, name, spoil):
    path = out / NEWEST / name
    data = path.read_bytes()
    path.unlink() if spoil is None else path.write_bytes(spoil(data))
    assert train(parse_run(run_of(pictures, out, steps=2))).step == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert len(told) == 1 and f"{path} is missing or damaged" in told[0] and f"is now {NEWEST}.damaged" in told[0]
    again, first = (torch.load(o / NEWEST / "state.pt", weights_only=True) for o in (out, finished))
    assert_equal(again, first)  # the step was done again, and its checkpoint written anew
    assert (out / f"{NEWEST}.damaged").is_dir()
    checkpoint.read_meta(out / NEWEST)


def test_no_flipped_bit_is_overlooked(out):
    draw = random.Random(0)
    for name in FILES:
        path = out / NEWEST / name
        data = path.read_bytes()
        places = [draw.randrange(8 * len(data)) for _ in range(150)]
        for place in places if name != "meta.json" else range(8 * len(data)):
            changed = bytearray(data)
            changed[place // 8] ^= 1 << place % 8
            path.write_bytes(changed)
            with pytest.raises(checkpoint.Damaged, match=name):
                checkpoint.read_meta(out / NEWEST)
        path.write_bytes(data)
    checkpoint.read_meta(out / NEWEST)


def test_without_a_whole_checkpoint_nothing_is_trained_or_renamed(pictures, out):
    for name in (NEWEST, BEFORE):
        (out / name / "rank-0.pt").unlink()
    before = sorted(out.rglob("*"))
    with pytest.raises(CheckpointError, match=f"is whole.*{NEWEST}/rank-0.pt.*{BEFORE}/rank-0.pt.*another `output`"):
        train(parse_run(run_of(pictures, out, steps=3)))
    assert sorted(out.rglob("*")) == before


def test_weights_are_not_taken_from_a_damaged_checkpoint(out):
    path = out / NEWEST / "state.pt"
    (out / NEWEST / "rank-0.pt").unlink()  # of no use here
    open_pretrained(str(out / NEWEST))
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"state\.pt is missing or damaged"):
        open_pretrained(str(out / NEWEST))


def test_checkpoints_without_checksums_are_at_least_loaded(pictures, out):
    for name in (NEWEST, BEFORE):
        as_format_1(out / name)
    path = out / NEWEST / "state.pt"
    path.write_bytes(cut(path.read_bytes()))
    with pytest.warns(UserWarning, match="has no checksums"):
        train(parse_run(run_of(pictures, out, steps=3)))
    assert sorted(p.name for p in out.glob("checkpoint-*")) == [NEWEST, f"{NEWEST}.damaged", "checkpoint-00000003"]


def test_one_of_a_newer_version_is_refused_and_left_alone(pictures, out, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    (out / NEWEST / "meta.json").unlink()
    checkpoint.write_meta(out / NEWEST, {"step": 2})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 3; this version reads 2"):
        train(parse_run(run_of(pictures, out, steps=3)))
    assert (out / NEWEST).is_dir()


# --- a full disk ------------------------------------------------------------------------------------------------------


class Full:
    """A file on a disk that has room for `room` more bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def flush(self):
        self.file.flush()


@pytest.mark.parametrize("part", ["rank-0.pt", "state.pt", "meta.json", "model", "metrics"])
def test_a_full_disk_is_one_line_and_loses_nothing(pictures, finished, tmp_path, monkeypatch, capsys, part):
    out, path = tmp_path / "out", tmp_path / "run.yaml"
    run = run_of(pictures, out, steps=2)
    path.write_text(yaml.safe_dump(run))
    full = OSError(errno.ENOSPC, "No space left on device")
    real = {"save": torch.save, "meta": checkpoint.write_meta, "model": resume.save_folder}

    def save(value, file):
        with_room = (out / BEFORE).is_dir() and file.name.endswith(part)
        return real["save"](value, Full(file, 300) if with_room else file)

    def fails(name):
        def write(*arguments):
            if (out / BEFORE).is_dir():
                raise full
            return real[name](*arguments)

        return write

    if part.endswith(".pt"):
        monkeypatch.setattr(torch, "save", save)
    elif part == "meta.json":
        monkeypatch.setattr(checkpoint, "write_meta", fails("meta"))
    elif part == "model":
        monkeypatch.setattr(resume, "save_folder", fails("model"))
    else:
        from tokenzoo.train.log import RunLog

        real["metrics"] = RunLog.metrics
        monkeypatch.setattr(RunLog, "metrics", fails("metrics"))
    assert main([str(path)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("step ")]
    saved = f"{out / BEFORE} is saved; the same command resumes from it."
    assert errors == [f"error: the run ended at step 2: No space left on device. {saved}"]
    assert not list(out.glob(".*"))
    load_folder(out / "model")
    monkeypatch.undo()
    assert main([str(path)]) == 0
    again, first = (torch.load(o / NEWEST / "state.pt", weights_only=True) for o in (out, finished))
    assert_equal(again, first)
