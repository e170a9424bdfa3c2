"""DualToken's second stage: semantic codes learn before a pixel side that stays as it is.

    pytest tests/image/dualtoken/test_second_stage.py
"""

import torch
from tokenzoo.train.files import load_run, parse_run, read_mapping
from tokenzoo.train.loop import Trainer
from train_media import write_pictures


def test_only_the_semantic_side_moves(tmp_path):
    """The recipe's frozen parts and losses, on the debug run; its first layer stands for those before the shortcut."""
    recipe = load_run("image/dualtoken-256-stage2", ["data.train=x", "data.valid=[]"])
    assert set(recipe.losses) == {"quantizer", "hidden_cosine", "pooled_mse", "pooled_cosine"} and not recipe.discriminators
    frozen = [part for part in recipe.model.frozen if not part.startswith("tower.blocks.") or part.endswith(".0")]
    run = read_mapping("image/dualtoken-debug", ["losses.pixel=null", "model.config.pixel_quantizer.commitment_weight=0.0"])
    run["model"]["frozen"] = frozen
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
