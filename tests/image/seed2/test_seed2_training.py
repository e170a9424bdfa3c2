"""SEED's first stage: the causal Q-Former learns from texts. Run: pytest tests/image/seed2/test_seed2_training.py"""

from typing import Any

import numpy as np
import pytest
import teacher_models
import torch
from effects import effect
from tokenzoo.train.data.loader import Batch
from tokenzoo.train.files import parse_run, read_mapping
from tokenzoo.train.state import TrainState
from tokenzoo.train.step import train_step
from torch.nn import functional as F
from train_media import coloured

WORDS = "abcdefgh"


def first_stage(model: str) -> TrainState:
    """The debug run's tower and Q-Former in the bundled first stage."""
    recipe, sizes = read_mapping("image/seed2-stage1"), read_mapping("image/seed2-debug")["model"]["config"]
    config = {k: v for k, v in sizes.items() if k != "decoder"} | recipe["model"]["config"]
    contrast = recipe["losses"]["contrast"] | {"model": model, "width": 16, "scale": 5.0}
    return TrainState(parse_run({
        "model": {"family": "seed2", "config": config, "frozen": recipe["model"]["frozen"]},
        "data": {"kind": "images", "crop": 32, "partners": {"caption": {"kind": "text"}}},
        "losses": {"contrast": contrast},
        "optimizer": {"lr": 1e-3, "schedule": {"kind": "constant"}},
        "ema": {"decay": 0.0},
        "output": "unused",
        "device": "cpu",
        "threads": 1,
    }))  # fmt: skip


def found(state: TrainState) -> list[float]:
    """Share of unseen pictures whose text, of eight, is the nearest to their last query, and to their first."""
    x, texts = coloured(200, 1000)
    module: Any = state.losses["contrast"]
    with torch.no_grad():
        queries = state.tokenizer.eval()(x).features["queries"]
        theirs = F.normalize(module.embed(list(WORDS), x.device), dim=1)
        nearest = [(F.normalize(module.projection(queries[:, :, n]), dim=1) @ theirs.t()).argmax(1).tolist() for n in (-1, 0)]
    return [float(np.mean([WORDS[i] == t for i, t in zip(row, texts, strict=True)])) for row in nearest]


def test_only_the_q_former_learns(tmp_path):
    """The tower and the codes stay as they are; every query takes part, for the last attends to all."""
    state = first_stage(str(teacher_models.text_model(tmp_path / "bert")))
    before = {k: v.clone() for k, v in state.tokenizer.state_dict().items()}
    x, texts = coloured(8, 0)
    train_step(state, Batch(x, partners={"caption": texts}))
    moved = {k.partition(".")[0] for k, v in state.tokenizer.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"tower_norm", "qformer"}
    changed = (state.tokenizer.qformer.queries - before["qformer.queries"]).abs().amax(dim=1)
    assert changed.min() > 0


@pytest.mark.slow
@pytest.mark.effect
def test_pictures_find_their_texts(tmp_path):
    """Of eight texts, that of an unseen picture is the nearest to the last causal embedding, and less often to the first."""
    state = first_stage(str(teacher_models.text_model(tmp_path / "bert")))
    before = found(state)
    for step in range(150):
        x, texts = coloured(32, step)
        train_step(state, Batch(x, partners={"caption": texts}))
    after = found(state)
    figure = "share of pictures whose last embedding is nearest to their own text of eight, after and before"
    effect("contrast of the causal Q-Former with texts (SEED)", figure, with_=after[0], without=before[0])
    assert after[0] > 0.6 and before[0] < 0.3 and after[0] > after[1], (before, after)
