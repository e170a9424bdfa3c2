"""Two processes (gloo, CPU) on halves of each batch equal one process on the whole.

    pytest tests/train/test_ddp.py
"""

import os
import socket
import subprocess
import sys

import pytest
import torch
import yaml
from train_media import FSQ, image_run, write_pictures

from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train

STEPS = 5

WORKER = """
import sys, torch, torch.distributed as dist
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer

trainer = Trainer(load_run(sys.argv[1]))
assert trainer.world == 2, trainer.world
trainer.run()
for name, value in {**trainer.tokenizer.state_dict(), **trainer.losses.state_dict()}.items():
    copies = [torch.empty_like(value) for _ in range(2)]
    dist.all_gather(copies, value.contiguous())
    assert torch.equal(copies[0], copies[1]), f"{name} differs between the processes"
assert len(trainer.broken) == 1
dist.destroy_process_group()
"""


def run_two(path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", WORKER, str(path)]
    processes = [
        subprocess.Popen(command, env=shared | {"RANK": str(r), "LOCAL_RANK": str(r)}, stderr=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    texts = [p.communicate(timeout=300)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], "\n".join(texts)


VQ = {"kind": "vq", "codebook_size": 16, "codebook_dim": 0}


@pytest.mark.parametrize("quantizer", ["fsq", "vq"])
def test_two_processes_equal_one(tmp_path, quantizer):
    pictures = write_pictures(tmp_path / "pictures", 9)
    (pictures / "broken.png").write_bytes(b"no")
    run = image_run(
        pictures,
        tmp_path / "two",
        steps=STEPS,
        batch_size=8,
        accumulation=2,
        losses={
            "pixel": {},
            "quantizer": {},
            "adversarial": {"weight": 0.1, "lecam_weight": 0.01},
            "feature_matching": {},
            "distillation": {"teacher": "envelope", "project": 1, "along": "mse", "weight": 0.1},
        },
        teachers={"envelope": {"step": 16}},
        discriminators={"patchgan": {"channels": 4, "layers": 1, "norm": "none"}},
        every={"log": 1, "checkpoint": 3, "preview": 0, "validate": 0},
    )
    run["model"]["config"] |= {"quantizer": FSQ if quantizer == "fsq" else VQ}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    run_two(path)
    whole = train(parse_run(run | {"output": str(tmp_path / "one")}))
    a, b = (
        torch.load(tmp_path / name / f"checkpoint-{STEPS:08d}" / "state.pt", weights_only=True) for name in ("one", "two")
    )
    assert whole.step == STEPS
    for part in ("tokenizer", "ema", "discriminators", "losses"):
        for name, value in a[part].items():
            assert torch.allclose(value.float(), b[part][name].float(), atol=2e-5), f"{part}/{name}"
