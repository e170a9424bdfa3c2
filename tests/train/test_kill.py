"""A run killed with `kill -9` and started again with the same command ends with the weights of one never killed.

    pytest tests/train/test_kill.py
"""

import json
import os
import subprocess
import sys

import torch
import yaml
from tokenzoo.codecs.serialize import load_folder
from tokenzoo.train import checkpoint
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train
from train_media import RVQ, image_run, write_pictures
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


def test_killed_run_equals_one_never_killed(tmp_path):
    pictures = write_pictures(tmp_path / "pictures", 7)
    (pictures / "broken.png").write_bytes(b"no")
    run = image_run(
        pictures,
        tmp_path / "killed",
        steps=STEPS,
        every={"log": 1, "checkpoint": 3, "keep": 2, "preview": 0, "validate": 0},
        losses={"pixel": {}, "quantizer": {}, "adversarial": {"lecam_weight": 0.01}, "feature_matching": {}},
        discriminators={"patchgan": {"channels": 4, "layers": 1}},
        balance={"kind": "gradients"},
        adversarial_start=4,
        accumulation=2,
    )
    run["model"]["config"] |= {"quantizer": RVQ}  # its statistics, dropout and replacement of dead codes carry state
    run["data"] |= {"num_workers": 1}
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
