"""Two processes (gloo, CPU) on halves of each batch equal one process on the whole.

    pytest tests/train/test_ddp.py
"""

import json

import pytest
import torch
import yaml
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train
from train_media import FSQ, RVQ, image_run, write_pictures
from two_processes import run_two

STEPS = 5

WORKER = """
import sys, torch, torch.distributed as dist
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer

for path in sys.argv[1:]:
    trainer = Trainer(load_run(path))
    state = trainer.state
    assert state.world == 2, state.world
    trainer.run()
    for name, value in {**state.tokenizer.state_dict(), **state.losses.state_dict()}.items():
        copies = [torch.empty_like(value) for _ in range(2)]
        dist.all_gather(copies, value.contiguous())
        assert torch.equal(copies[0], copies[1]), f"{name} differs between the processes"
    assert len(state.broken) == 1
    del trainer, state
dist.barrier()  # a process that leaves first takes connections away that the other still reads
dist.destroy_process_group()
"""


def two_process_run(pictures, output, quantizer):
    """A run with everything whose gradients or statistics have to meet."""
    run = image_run(
        pictures,
        output,
        steps=STEPS,
        batch_size=8,
        accumulation=2,
        losses={
            "pixel": {},
            "quantizer": {},
            "adversarial": {"weight": 0.1, "game": "least_squares", "lecam_weight": 0.01, "r1_weight": 1.0, "r1_every": 2},
            "feature_matching": {},
            "distillation": {"teacher": "envelope", "project": 1, "along": "mse", "weight": 0.1},
        },
        teachers={"envelope": {"step": 16}},
        discriminators={"patchgan": {"channels": 4, "layers": 1, "norm": "none"}},
        every={"log": 1, "checkpoint": 3, "preview": 0, "validate": 0},
        # A large eps: where a gradient is nearly 0, Adam would blow rounding errors up to whole steps.
        optimizer={"lr": 3e-2, "eps": 1e-2, "schedule": {"kind": "constant"}},
        discriminator_optimizer={"lr": 3e-2, "eps": 1e-2, "schedule": {"kind": "constant"}},
    )
    run["model"]["config"] |= {"quantizer": quantizer}
    return run


def test_two_processes_equal_one(tmp_path):
    pictures = write_pictures(tmp_path / "pictures", 9)
    (pictures / "broken.png").write_bytes(b"no")
    quantizers = {"fsq": FSQ, "vq": {"kind": "vq", "codebook_size": 16}, "rvq": RVQ}
    runs = {name: two_process_run(pictures, tmp_path / name / "two", q) for name, q in quantizers.items()}
    for name, run in runs.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(run))
    run_two(WORKER, *(tmp_path / f"{name}.yaml" for name in runs))
    for name in ("fsq", "vq"):  # residual VQ with dropout draws its own numbers in each process
        train(parse_run(runs[name] | {"output": str(tmp_path / name / "one")}))
        a, b = (
            torch.load(tmp_path / name / n / f"checkpoint-{STEPS:08d}" / "state.pt", weights_only=True)
            for n in ("one", "two")
        )
        for part in ("tokenizer", "ema", "discriminators", "losses"):
            for key, value in a[part].items():
                assert torch.allclose(value.float(), b[part][key].float(), atol=2e-5), f"{name}: {part}/{key}"
        one, two = (first_step(tmp_path / name / n) for n in ("one", "two"))
        places = [key for key in one if key.startswith("codebook/position")]
        assert places and [one[key] for key in places] == [pytest.approx(two[key]) for key in places], "of the items of one process"


def first_step(output):
    with (output / "metrics.jsonl").open() as lines:
        return json.loads(next(lines))
