"""A run killed with `kill -9` and started again with the same command ends with the weights of one never killed.

    pytest tests/train/test_kill.py
"""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from kills import Killer
from tokenzoo.codecs.serialize import load_folder
from tokenzoo.train import checkpoint
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train
from tokenzoo.train.state import TrainState
from train_media import RVQ, assert_equal, audio_run, image_run, write_pictures, write_sounds
from two_processes import run_two
from waiting import PATIENCE_SECONDS, kill_when

STEPS = 18


def start(path):
    """The command that a user types, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "tokenzoo.train", str(path)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def killed_when(process, condition):
    """Send SIGKILL as soon as `condition` holds, which must come before the process ends by itself."""
    assert kill_when(process, condition), f"ended by itself: {process.stderr.read()}"
    process.stderr.close()


def demanding_run(tmp_path, **changes):
    """A run in which much has to be saved: adversary, running mean, dropout and replacement of codes, a reader, a broken file."""
    pictures = write_pictures(tmp_path / "pictures", 7)
    (pictures / "broken.png").write_bytes(b"no")
    run = image_run(
        pictures,
        tmp_path / "killed",
        every={"log": 1, "checkpoint": 3, "keep": 2, "preview": 0, "validate": 0},
        losses={"pixel": {}, "quantizer": {}, "adversarial": {"lecam_weight": 0.01}, "feature_matching": {}},
        discriminators={"patchgan": {"channels": 4, "layers": 1}},
        balance={"kind": "gradients"},
        adversarial_start=4,
        accumulation=2,
        **changes,
    )
    run["model"]["config"] |= {"quantizer": RVQ}  # its statistics, dropout and replacement of dead codes carry state
    run["data"] |= {"num_workers": 1}
    return run


def test_killed_run_equals_one_never_killed(tmp_path):
    run = demanding_run(tmp_path, steps=STEPS)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    out = tmp_path / "killed"

    # Once in the middle of writing a checkpoint, once between two.
    killed_when(start(path), lambda: any(out.glob(".checkpoint-*.partial")) and checkpoint.checkpoints(out))
    first = checkpoint.checkpoints(out)[-1]
    load_folder(out / "model")
    killed_when(start(path), lambda: steps(out) > int(first.name[-8:]) + 4)
    assert checkpoint.checkpoints(out)[-1] != first
    assert steps(out) < STEPS, "the run was over before it was killed"
    last = start(path)
    _, text = last.communicate(timeout=PATIENCE_SECONDS)
    assert last.returncode == 0, text
    assert "going on from" in text
    assert "broken.png" in text

    whole = train(parse_run(run | {"output": str(tmp_path / "whole")}))
    a, b = (torch.load(o / checkpoint.folder_name(STEPS) / "state.pt", weights_only=True) for o in (whole.model.parent, out))
    flat_a, flat_b = dict(tensors(a)), dict(tensors(b))
    assert flat_a.keys() == flat_b.keys()
    assert len(flat_a) > 100
    different = [name for name, value in flat_a.items() if not torch.equal(value, flat_b[name])]
    assert not different
    assert [json.loads(line)["step"] for line in (out / "metrics.jsonl").open()] == list(range(1, STEPS + 1))
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]


def steps(out):
    """Last step that the metrics file tells of."""
    if not (out / "metrics.jsonl").is_file():
        return 0
    whole = [line for line in (out / "metrics.jsonl").read_text().split("\n")[:-1] if line]
    return json.loads(whole[-1])["step"] if whole else 0


def tensors(value, path=""):
    """Every tensor of nested containers with its path."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from tensors(inner, f"{path}/{key}")
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from tensors(inner, f"{path}/{i}")


def test_old_checkpoints_are_removed_by_a_run_that_has_nothing_left_to_do(tmp_path, monkeypatch):
    """The one before was killed between its last checkpoint and the removal of those before it."""
    every = {"log": 1, "checkpoint": 1, "keep": 1, "preview": 0, "validate": 0}
    run = image_run(write_pictures(tmp_path / "pictures", 4), tmp_path / "out", steps=2, every=every)
    with monkeypatch.context() as m:
        m.setattr(checkpoint, "prune", lambda out, keep: None)
        train(parse_run(run))
    assert len(checkpoint.checkpoints(tmp_path / "out")) == 2
    train(parse_run(run))
    assert [p.name for p in checkpoint.checkpoints(tmp_path / "out")] == [checkpoint.folder_name(2)]


def test_a_run_killed_before_its_first_checkpoint_draws_the_same_numbers_again(tmp_path):
    """Also those of Python and NumPy, of which losses and networks of the user may make use."""
    config, drawn = parse_run(image_run(write_pictures(tmp_path / "pictures", 4), tmp_path / "out")), []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        TrainState(config)
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
    assert drawn[0] == drawn[1]


# --- random points ----------------------------------------------------------------------------------------------------

#: Steps of the runs that are killed at random points; the last is no multiple of those between two checkpoints.
SHORT = 10


def saved_by(out):
    """All that a run promises to be the same, however often it was killed: checkpoints, weights, and metrics but for the clock."""
    found = {p.name: {f: torch.load(p / f, weights_only=True) for f in ("state.pt", "rank-0.pt")} for p in checkpoint.checkpoints(out)}
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    weights = {p.name: p.read_bytes() for p in (out / "model").iterdir()}
    return {**found, "metrics": [{k: v for k, v in line.items() if k != "seconds"} for line in metrics], "model": weights}


@pytest.mark.slow
def test_100_kills_at_random_points(tmp_path):
    """An adversarial run of pictures and a run of sounds in turn; what is saved in the end equals an undisturbed run bit by bit."""
    every = {"log": 1, "checkpoint": 2, "keep": 1, "preview": 0, "validate": 0}
    sounds = audio_run(write_sounds(tmp_path / "sounds"), tmp_path, every=every)
    runs = {"pictures": demanding_run(tmp_path, steps=SHORT), "sounds": sounds | {"steps": SHORT}}

    def line(name, out):
        path = tmp_path / f"{out.name}.yaml"
        path.write_text(yaml.safe_dump(runs[name] | {"output": str(out)}))
        return [sys.executable, "-m", "tokenzoo.train", str(path)]

    killers, whole = {}, {}
    for i, name in enumerate(runs):
        killers[name] = Killer(
            tmp_path / f"kills-{name}", 20 + i, roles={"main": "tokenzoo.train"}, begun=lambda out: (out / "config.yaml").exists()
        )
        killers[name].measure(line(name, tmp_path / name), tmp_path / name)
        assert killers[name].steps["main"] > 50, "steps are no longer seen"
        whole[name] = saved_by(tmp_path / name)
        assert len(whole[name]["metrics"]) == SHORT
    rounds = itertools.count()
    while sum(k.kills.total() for k in killers.values()) < 100:
        number = next(rounds)
        name, out = list(runs)[number % 2], tmp_path / f"out{number}"
        killer = killers[name]
        while not killer.run(line(name, out), out):
            pass
        assert_equal(saved_by(out), whole[name], f"{name}, seed {killer.seed}, round {number}, after {killer}")
        assert not [p.name for p in out.iterdir() if p.name.startswith(".")]
        shutil.rmtree(out)
    for name, killer in killers.items():
        assert killer.nothing_is_left()
        assert killer.kills["group"] > 10 and killer.kills["main"] > 10
        print(f"{name}: {killer}")
    print(f"{sum(k.kills.total() for k in killers.values())} kills, {next(rounds)} completions, all equal to the bit")


# --- two processes ----------------------------------------------------------------------------------------------------

#: Trains run files one after the other and says from which checkpoint each process resumed, or what it was refused by.
RESUMING = """
import sys, torch.distributed as dist
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.train import resume
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer

inner = resume.resume

def noted(state, out, **options):
    found = inner(state, out, **options)
    print("RESUMED", out.name, found and found.folder.name, state.step, file=sys.stderr)
    return found

resume.resume = noted
for path in sys.argv[1:]:
    try:
        Trainer(load_run(path)).run()
    except CheckpointError as error:
        print("REFUSED", error, file=sys.stderr)
dist.barrier()
dist.destroy_process_group()
"""


def spoil(path, how):
    """Cut a file, flip one bit of it, or take it away."""
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "bit":
        path.write_bytes(data[:90] + bytes([data[90] ^ 1]) + data[91:])
    else:
        path.unlink()


def test_two_processes_resume_from_the_checkpoint_before_a_damaged_one(tmp_path):
    pictures, whole = write_pictures(tmp_path / "pictures", 8), tmp_path / "whole"
    every = {"log": 1, "checkpoint": 1, "keep": 3, "preview": 0, "validate": 0}
    newest, before = checkpoint.folder_name(3), checkpoint.folder_name(2)
    cases = {f"{how}-{name}": (name, how) for name, how in (("state.pt", "bit"), ("rank-1.pt", "cut"), ("rank-1.pt", "gone"))}

    def run_file(out):
        run = image_run(pictures, out, steps=3, every=every)
        run["model"]["config"] |= {"quantizer": RVQ}  # its dropout draws other numbers in each process
        path = tmp_path / f"{out.name}.yaml"
        path.write_text(yaml.safe_dump(run))
        return path

    run_two(RESUMING, run_file(whole))
    for label, (name, how) in cases.items():
        spoil(shutil.copytree(whole, tmp_path / label) / newest / name, how)
    shutil.copytree(whole, tmp_path / "none")
    for step in (1, 2, 3):
        spoil(tmp_path / "none" / checkpoint.folder_name(step) / "rank-1.pt", "gone")
    texts = run_two(RESUMING, *(run_file(tmp_path / label) for label in (*cases, "none")))
    for text in texts:
        assert [line for line in text.splitlines() if line.startswith("RESUMED")] == [f"RESUMED {c} {before} 2" for c in cases]
        assert text.count("REFUSED") == 1 and "no checkpoint in" in text
    for label in cases:
        assert f"{newest}.damaged" in texts[0] and (tmp_path / label / f"{newest}.damaged").is_dir()
        for name in ("state.pt", "rank-0.pt", "rank-1.pt"):
            again, first = (torch.load(o / newest / name, weights_only=True) for o in (tmp_path / label, whole))
            assert_equal(again, first, f"{label}: {name}")
