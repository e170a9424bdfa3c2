"""DualToken's second stage: semantic codes learn before a pixel side that stays as it is.

    pytest tests/image/dualtoken/test_second_stage.py
"""

import json

import pytest
import torch
from effects import effect
from small_runs import trained, write_held_out, write_photo
from tokenzoo.train.files import load_run, parse_run, read_mapping
from tokenzoo.train.loop import Trainer
from train_media import write_pictures


def second_stage_frozen():
    """What the recipe keeps, in the debug run: its first layer stands for those before the shortcut."""
    recipe = load_run("image/dualtoken-256-stage2", ["data.train=x", "data.valid=[]"])
    return [part for part in recipe.model.frozen if not part.startswith("tower.blocks.") or part.endswith(".0")]


def test_only_the_semantic_side_moves(tmp_path):
    """The recipe's frozen parts and losses, on the debug run."""
    recipe = load_run("image/dualtoken-256-stage2", ["data.train=x", "data.valid=[]"])
    assert set(recipe.losses) == {"quantizer", "hidden_cosine", "pooled_mse", "pooled_cosine"} and not recipe.discriminators
    run = read_mapping("image/dualtoken-debug", ["losses.pixel=null", "model.config.pixel_quantizer.commitment_weight=0.0"])
    run["model"]["frozen"] = second_stage_frozen()
    every = {"log": 0, "checkpoint": 0, "preview": 0, "validate": 0}
    quiet = {"device": "cpu", "threads": 1, "tensorboard": False, "output": str(tmp_path / "out"), "every": every, "steps": 4}
    run["data"] |= {"train": str(write_pictures(tmp_path / "in")), "valid": []}
    trainer = Trainer(parse_run(run | quiet))
    before = {name: value.clone() for name, value in trainer.state.tokenizer.state_dict().items()}
    trainer.run()
    after = trainer.state.tokenizer.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    tops = {name.split(".")[0] for name in moved}
    assert tops == {"tower", "to_semantic", "quantizer", "from_semantic"} and not [n for n in moved if n.startswith("quantizer.second")]
    assert {name.split(".")[2] for name in moved if name.startswith("tower.blocks")} == {"1"}


@pytest.mark.slow
@pytest.mark.effect
def test_semantics_come_nearer_and_pixels_stay(tmp_path):
    """As many steps more in the second stage, and in the first: both on pictures that no run saw."""
    photos, unseen = write_photo(tmp_path / "photo"), write_held_out(tmp_path / "unseen", 32, 32)

    def figures(name, *changes, steps=120):
        """The distance of the reconstructed semantic layer from the teacher's, and the square error of the pixels, at the end."""
        measured = [f"data.valid={unseen}", f"every.validate={steps}", f"every.log={steps}", "every.validate_items=32"]
        trained("image/dualtoken-debug", photos, tmp_path / name, *measured, f"steps={steps}", *changes)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()]
        found = {key: value for line in lines for key, value in line.items() if key.startswith("valid/")}
        return found["valid/semantic"], found["valid/pixel"]

    before = figures("first")
    more = [f"init={tmp_path / 'first'}", "init_losses=[semantic]", "optimizer.lr=5e-4"]
    kept = f"model.frozen={json.dumps(second_stage_frozen())}"
    second = [kept, "losses.pixel.weight=0", "model.config.pixel_quantizer.commitment_weight=0.0"]
    after, same = figures("second", *more, *second), figures("on", *more)
    for i, figure in enumerate(("distance of the semantic layer from the teacher's", "square error of pixels")):
        effect("second stage (DualToken)", f"{figure}, after it, and before it", with_=after[i], without=before[i])
        effect("second stage (DualToken)", f"{figure}, after it, and after as long in the first", with_=after[i], without=same[i])
    assert after[0] < 0.95 * before[0], (before, after)
    assert abs(after[1] - before[1]) < 0.01 * before[1], (before, after)
