"""What FDT is trained for: pictures and texts meet in one dictionary. Run: pytest tests/image/fdt/test_fdt_training.py"""

from pathlib import Path

import numpy as np
import pytest
import teacher_models
import torch
from effects import effect
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.train.data.loader import Batch
from tokenzoo.train.files import load_run, parse_run
from tokenzoo.train.loop import Trainer
from tokenzoo.train.state import TrainState
from tokenzoo.train.step import train_step
from torch.nn import functional as F
from train_media import coloured

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


@pytest.mark.slow
@pytest.mark.effect
def test_both_towers_learn_along(tmp_path):
    """From random weights, of eight texts that of an unseen picture has the nearest mixture, and their tokens are told apart."""
    changes = ["data.train=unused", "data.valid=[]", f"output={tmp_path}", "device=cpu", "threads=1", "ema.decay=0.0"]
    steady = ["optimizer.lr=3e-3", "optimizer.schedule.kind=constant", "model.config.codes.quantizer.temperature=10.0"]
    state = TrainState(load_run("image/fdt_clip-debug", [*changes, *steady]))

    def found() -> float:
        x, texts = coloured(200, 1000)
        with torch.no_grad():
            ours = state.tokenizer.eval().mixture(x).feature
            theirs = state.tokenizer.mixture_of_texts(state.objective.targets(x, {"caption": list(WORDS)})["caption"]).feature
        nearest = (F.normalize(ours, dim=1) @ F.normalize(theirs, dim=1).t()).argmax(1).tolist()
        return float(np.mean([WORDS[i] == t for i, t in zip(nearest, texts, strict=True)]))

    before = found()
    for step in range(150):
        x, texts = coloured(32, step)
        train_step(state, Batch(x, partners={"caption": texts}))
    after = found()
    figure = "share of pictures nearest to their own text of eight, after and before"
    effect("contrast of dictionaries, both towers trained (FDT)", figure, with_=after, without=before)
    assert before < 0.3 and after > 0.7, (before, after)


def test_towers_read_texts_of_any_length(tmp_path):
    """Padding changes no mixture, later tokens no state of earlier ones; too long or unknown tokens are errors."""
    model = load_run("image/fdt_clip-debug", ["data.train=x", "data.valid=[]"]).model
    torch.manual_seed(0)
    tower = build_tokenizer(model.family, model.config).eval()
    ids = torch.tensor([[5, 9, 1, -1, -1], [7, 7, 3, 2, 1]])
    with torch.no_grad():
        both, one = tower.mixture_of_texts(ids).feature, tower.mixture_of_texts(ids[:1, :4]).feature
        torch.testing.assert_close(both[:1], one)
        torch.testing.assert_close(tower.text(ids)[:, :2], tower.text(ids[:, :2]))
        x = torch.rand(2, 3, 32, 32)
        out = tower(x, ids)
        torch.testing.assert_close(out.features["mixture"][..., 0], tower.mixture(x).feature)
        torch.testing.assert_close(out.features["text_mixture"][..., 0], both)
    sum(f.square().mean() for f in tower(x, ids).features.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())
    for wrong in (torch.ones(1, 25, dtype=torch.int64), torch.full((1, 2), 259), torch.ones(3, dtype=torch.int64)):
        with pytest.raises(ValueError, match="tokens .B, N. below 259 with N at most 24"):
            tower.mixture_of_texts(wrong)
    with pytest.raises(ConfigError, match="they must be equal"):
        build_tokenizer(model.family, {**model.config, "codes": {"width": 8}})
    with pytest.raises(ConfigError, match="needs a text under data.partners"):
        parse_run({"data": {"kind": "images"}, "losses": {"pixel": {}}, "teachers": {"ids": {"kind": "text_ids"}}, "output": "x"})


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
