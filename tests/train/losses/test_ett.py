"""Stages in which a language model reads the codes (ETT): what they hand on, at which rates they learn, and what they do to the codes.

    pytest tests/train/losses/test_ett.py
"""

from pathlib import Path
from typing import Any

import pytest
import teacher_models
import torch
import yaml
from effects import effect
from faint_scenes import probed, scenes
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.train.data.loader import Batch
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train
from tokenzoo.train.state import TrainState
from tokenzoo.train.step import train_step
from train_media import assert_equal, image_run
from two_processes import TRAIN, run_two

PARTS = ["encoder", "quantizer", "decoder"]
IBQ = {"kind": "ibq", "codebook_size": 16, "entropy_weight": 0.05, "entropy_temperature": 1.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(teacher_models.language_model(tmp_path_factory.mktemp("lm") / "llama"))


def write_scenes(folder: Path, count: int) -> Path:
    """Scenes as files, each with its letter beside it."""
    folder.mkdir()
    x, texts = scenes(count, 0)
    for i, (picture, text) in enumerate(zip(((x + 1) * 127.5).round().byte(), texts, strict=True)):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{i:03d}.png")
        (folder / f"{i:03d}.txt").write_text(text)
    return folder


def run(folder: Path | str, output: Path, text: dict[str, Any] | None = None, *, pixel: bool = True, **changes: Any) -> dict[str, Any]:
    """A tiny tokenizer with IBQ's codes; `text`: settings of the language model."""
    losses = {"pixel": {"distance": "l2"}, "quantizer": {"weight": 0.1}} if pixel else {}
    data = {"kind": "images", "train": str(folder), "crop": 16, "cache": "memory", "partners": {"caption": {"kind": "text"}}}
    losses |= {"text": {"kind": "language_model"} | text} if text else {}
    own = {"data": data, "losses": losses, "ema": {"decay": 0.0}, "batch_size": 16}
    made = image_run(Path(str(folder)), output, **(own | changes))
    made["every"] = {"log": 0, "checkpoint": made["steps"], "preview": 0, "validate": 0}
    made["model"]["config"] |= {"quantizer": IBQ}
    return made


def alone(model: str, start: Path, folder: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """ETT's first stage: the projector before a frozen language model, behind a frozen tokenizer."""
    made = run(folder, output, {"model": model}, pixel=False, init=str(start), **changes)
    return made | {"model": made["model"] | {"frozen": PARTS}}


def test_stages_hand_on_what_losses_learned(model, tmp_path):
    """The first stage moves the projector alone; the second begins with it, and with the language model as it was."""
    folder = write_scenes(tmp_path / "scenes", 16)
    train(parse_run(run(folder, tmp_path / "start", steps=1)))
    first = alone(model, tmp_path / "start", folder, tmp_path / "first", steps=2)
    train(parse_run(first))
    files = [tmp_path / name / f"checkpoint-0000000{step}" / "state.pt" for name, step in (("start", 1), ("first", 2))]
    saved = [torch.load(file, weights_only=True) for file in files]
    assert_equal(saved[0]["tokenizer"], saved[1]["tokenizer"])
    fresh = TrainState(parse_run(first)).losses.state_dict()
    assert all(not torch.equal(v, fresh[k]) for k, v in saved[1]["losses"].items()) and set(fresh) == set(saved[1]["losses"])
    second = run(folder, tmp_path / "second", {"model": model, "frozen": False}, init=str(tmp_path / "first"), init_losses=["text"])
    state = TrainState(parse_run(second))
    handed = {k: v for k, v in state.losses.state_dict().items() if k in fresh}
    assert_equal(handed, saved[1]["losses"])
    assert any(k.startswith("text.trained.") for k in state.losses.state_dict())
    without = second | {"init_losses": []}
    assert_equal({k: v for k, v in TrainState(parse_run(without)).losses.state_dict().items() if k in fresh}, fresh)
    for changes, words in (
        ({"init_losses": ["txt"]}, "init_losses names 'txt'. Did you mean 'text'"),
        ({"init": None}, "init names no run"),
        ({"init_losses": ["pixel"]}, "has no parameters of such a loss"),
        ({"init": str(tmp_path / "start")}, "has no parameters of such a loss"),
        ({"init": str(tmp_path / "first" / "model")}, "has no parameters of such a loss"),
    ):
        with pytest.raises(ConfigError, match=words):
            TrainState(parse_run(second | changes))
    other = second["losses"] | {"text": {"kind": "language_model", "model": "bytes"}}
    with pytest.raises(CheckpointError, match="the loss 'text' of init .* does not fit"):
        TrainState(parse_run(second | {"losses": other}))


def test_a_loss_learns_at_a_rate_of_its_own(model, tmp_path):
    """Adam's first step is as long as its rate: the projector's is shorter by the factor, the tokenizer's as without one."""
    moved: dict[float, dict[str, float]] = {}
    x, texts = scenes(4, 0)
    for rate in (1.0, 0.25, 0.0):
        config = parse_run(run("", tmp_path, {"model": model, "rate": rate}))
        state = TrainState(config)
        parts = {"tokenizer": state.tokenizer.encoder, "projection": state.losses["text"]}
        before = {n: torch.nn.utils.parameters_to_vector(p.parameters()).detach().clone() for n, p in parts.items()}
        train_step(state, Batch(x, partners={"caption": texts}))
        after = {n: torch.nn.utils.parameters_to_vector(p.parameters()).detach() for n, p in parts.items()}
        moved[rate] = {n: float((after[n] - before[n]).abs().mean()) for n in parts}
    assert moved[0.25]["projection"] == pytest.approx(moved[1.0]["projection"] / 4, rel=1e-3) and moved[0.0]["projection"] == 0
    assert moved[0.25]["tokenizer"] == moved[1.0]["tokenizer"] > 0
    with pytest.raises(ConfigError, match=r"losses\.text\.rate is -1"):
        parse_run(run("", tmp_path, {"model": model, "rate": -1.0}))


@pytest.mark.slow
def test_a_frozen_tokenizer_in_two_processes(model, tmp_path):
    """There is nothing for DDP to wrap; the projector learns as in one process."""
    folder = write_scenes(tmp_path / "scenes", 16)
    train(parse_run(run(folder, tmp_path / "start", steps=1)))
    smooth = {"lr": 1e-2, "eps": 1e-2, "schedule": {"kind": "constant"}}
    config = alone(model, tmp_path / "start", folder, tmp_path / "two", steps=3, optimizer=smooth)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    run_two(TRAIN, tmp_path / "run.yaml")
    train(parse_run(config | {"output": str(tmp_path / "one")}))
    one, two = (torch.load(tmp_path / n / "checkpoint-00000003" / "state.pt", weights_only=True)["losses"] for n in ("one", "two"))
    assert all(torch.allclose(v, two[k], atol=1e-5) for k, v in one.items())


# --- the effect -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.effect
def test_tuning_with_captions_keeps_the_pixels(model, tmp_path):
    """ETT's stages after a plain training: the codes tell what the caption says, and pictures are hardly worse than without it."""
    folder, found = write_scenes(tmp_path / "scenes", 320), {}
    train(parse_run(run(folder, tmp_path / "start", steps=300)))
    train(parse_run(alone(model, tmp_path / "start", folder, tmp_path / "first", steps=100)))
    for weight in (0.0, 0.3):
        text = {"model": model, "frozen": False, "weight": weight}
        options = {"init": str(tmp_path / "first"), "init_losses": ["text"], "steps": 200}
        config = run(folder, tmp_path / f"second-{weight}", text, **options)
        train(parse_run(config))
        state = TrainState(parse_run(config | {"init": str(tmp_path / f"second-{weight}"), "init_losses": []}))
        best = state.best()
        x, _ = unseen = scenes(400, 101)
        with torch.no_grad():
            error = float((best.eval()(x).x_hat - x).square().mean())
        found[weight] = probed(best, scenes(400, 100), unseen), error
    name = "end-to-end tuning with captions (ETT)"
    (plain, before), (tuned, after) = found[0.0], found[0.3]
    effect(name, "share of unseen pictures whose faint pattern the codes show", with_=tuned, without=plain)
    effect(name, "squared error of unseen pictures", with_=after, without=before)
    assert plain < 0.65 and tuned > 0.9 and after < 1.15 * before, found
