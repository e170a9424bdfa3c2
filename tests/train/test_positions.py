"""Ids of a training step by position, and the warning of a run whose ids ignore the input. Run: pytest tests/train/test_positions.py"""

import json

import pytest
import torch
from small_runs import write_photo
from tokenzoo.codecs.position_statistics import statistics
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer
from tokenzoo.train.positions import MOST, StepIds


def test_all_parts_of_a_step_count():
    ids = torch.randint(0, 99, (12, 2, 10))
    step = StepIds(2)
    assert step.statistics().items == 0
    step.record(ids[:3] * 0)
    step.begin()
    for part in ids.split(5):
        step.record(part)
    assert all(torch.allclose(got, want) for got, want in zip(step.statistics()[:3], statistics(ids)[:3], strict=True))
    step.record(ids[:2, :1, :7])  # quantizer dropout, and a shorter crop
    odd = torch.cat([ids, torch.full((2, 2, 10), -1)])
    odd[12:, :1, :7] = ids[:2, :1, :7]
    assert all(torch.allclose(got, want) for got, want in zip(step.statistics()[:3], statistics(odd)[:3], strict=True))
    step.record(ids.repeat(30, 1, 1))
    assert step.statistics().items == MOST


@pytest.mark.parametrize("alive", [True, False])
def test_a_run_says_that_its_ids_ignore_the_input(tmp_path, alive, capsys):
    photos = write_photo(tmp_path / "photos")
    settings = [f"data.train={photos}", f"data.valid={photos}", f"output={tmp_path / 'out'}", "steps=4", "every.log=1"]
    settings += ["optimizer.lr=0"]  # as it starts, so it stays
    settings += ["every.validate=0", "every.preview=0", "every.checkpoint=0", "batch_size=16", "tensorboard=false"]
    run = load_run("image/vqgan-debug", settings)
    trainer = Trainer(run)
    if not alive:
        with torch.no_grad():
            for weight in trainer.state.tokenizer.encoder.parameters():
                weight.zero_()
    trainer.run()
    lines = [json.loads(x) for x in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["codebook/position_ids_0"] > 1 if alive else lines[-1]["codebook/position_ids_0"] == 1
    assert (lines[-1]["codebook/position_entropy_0"] > 0.5) == alive
    said = capsys.readouterr().err.count("the ids hardly depend on the input")
    assert said == (0 if alive else 1)
