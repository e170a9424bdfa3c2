"""What FDT is trained for: pictures and texts meet in one dictionary. Run: pytest tests/image/fdt/test_fdt_training.py"""

from pathlib import Path

import numpy as np
import pytest
import teacher_models
import torch
from effects import effect
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer
from torch.nn import functional as F

WORDS = "abcdefgh"


def write_pairs(folder: Path, count: int, seed: int) -> Path:
    """Features of eight patches, two of which show the things that the caption names, in noise."""
    folder.mkdir()
    things = np.random.default_rng(0).normal(size=(8, 8))
    rng = np.random.default_rng(seed)
    for i in range(count):
        named = rng.choice(8, size=2, replace=False)
        x = 0.3 * rng.normal(size=(8, 8))
        x[:, rng.choice(8, size=2, replace=False)] += 2 * things[named].T
        np.save(folder / f"{i:03d}.npy", x.astype(np.float32))
        (folder / f"{i:03d}.txt").write_text(" ".join(WORDS[n] for n in named))
    return folder


@pytest.mark.effect
def test_pictures_and_their_texts_meet_in_the_dictionary(tmp_path):
    """Of 40 unseen captions the own one is among the nearest far above chance, and matched pairs share codes."""
    model = str(teacher_models.clip_text(tmp_path / "clip"))
    train, unseen = write_pairs(tmp_path / "train", 640, 1), write_pairs(tmp_path / "unseen", 40, 2)
    run = {
        "model": {
            "family": "fdt",
            "config": {
                "width": 8,
                "text_width": 8,
                "code_dim": 16,
                "quantizer": {"kind": "sparsemax", "codebook_size": 32, "temperature": 10.0},
            },
            "features": ["caption"],
        },
        "data": {"kind": "features", "train": str(train), "crop": 8, "cache": "memory", "partners": {"caption": {"kind": "text"}}},
        "teachers": {"caption": {"kind": "clip_text", "partner": "caption", "model": model, "padding": "zeros", "length": 8}},
        "losses": {"contrast": {"kind": "text_contrast", "feature": "mixture", "target": "text_mixture"}},
        "optimizer": {"lr": 3e-3, "schedule": {"kind": "constant"}},
        "ema": {"decay": 0.0},
        "steps": 300,
        "batch_size": 32,
        "every": {"log": 0, "checkpoint": 0, "preview": 0, "validate": 0},
        "threads": 1,
        "device": "cpu",
        "tensorboard": False,
        "output": str(tmp_path / "out"),
    }
    trainer = Trainer(parse_run(run))

    def found() -> tuple[float, float]:
        state = trainer.state
        paths = sorted(unseen.glob("*.npy"))
        x = torch.stack([torch.from_numpy(np.load(p)) for p in paths])
        text = state.objective.targets(x, {"caption": [p.with_suffix(".txt").read_text() for p in paths]})["caption"]
        with torch.no_grad():
            ours = state.tokenizer.mixture(x)
            theirs = state.tokenizer.mixture(text, side="text", padding=(text == 0).all(1).long())
        alike = F.normalize(ours.feature, dim=1) @ F.normalize(theirs.feature, dim=1).t()
        ranks = (alike >= alike.diag()[:, None]).sum(1) - 1
        shared = (ours.weights[:, None] * theirs.weights[None]).sum(-1)  # [40, 40], of codes that both have
        return float((ranks < 8).float().mean()), float(shared.diag().mean() / shared.mean())

    before = found()
    trainer.run()
    after = found()
    figure = "share of pictures whose own text is among the 8 nearest of 40"
    effect("contrast of dictionaries (FDT)", figure, with_=after[0], without=before[0])
    assert before[0] < 0.4 and after[0] > 0.7, (before, after)
    assert before[1] < 1.1 and after[1] > 1.2, (before, after)


def test_padding_of_texts_is_no_word(tmp_path):
    model = str(teacher_models.clip_text(tmp_path / "clip"))
    run = parse_run({
        "model": {
            "family": "fdt",
            "config": {"width": 8, "text_width": 8, "code_dim": 8, "quantizer": {"kind": "sparsemax", "codebook_size": 16}},
        },
        "data": {"kind": "features", "crop": 4, "partners": {"caption": {"kind": "text"}}},
        "teachers": {"caption": {"kind": "clip_text", "partner": "caption", "model": model, "padding": "zeros", "length": 8}},
        "losses": {"contrast": {"kind": "text_contrast", "feature": "mixture", "target": "text_mixture"}},
        "output": str(tmp_path),
        "device": "cpu",
    })  # fmt: skip
    state = Trainer(run).state
    states = state.objective.targets(torch.zeros(2, 8, 4), {"caption": ["a b", "a b c d"]})["caption"]
    assert (states == 0).all(1).sum(1).tolist() == [4, 2]  # with a token at the beginning and one at the end
    with torch.no_grad():
        mixed = [state.tokenizer(torch.ones(1, 8, 4), states[:1, :, :n]).features["text_mixture"] for n in (5, 8)]
    torch.testing.assert_close(*mixed)
    with pytest.raises(ConfigError, match="it needs one of them"):
        parse_run({"data": {"kind": "features"}, "losses": {"text_contrast": {}}, "output": "x"})
