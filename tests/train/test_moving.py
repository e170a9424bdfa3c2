"""Values that change with the step. Run: pytest tests/train/test_moving.py"""

import json

import pytest
import torch
from small_runs import write_photo
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer, train
from tokenzoo.train.moving import RampConfig
from tokenzoo.train.step import train_step


def run_of(folder, *changes, name="image/vqgan-debug"):
    photos = write_photo(folder / "photos")
    settings = [f"data.train={photos}", "data.valid=[]", f"output={folder / 'out'}", "tensorboard=false", "every.preview=0"]
    return load_run(name, [*settings, "every.validate=0", "every.log=1", "every.checkpoint=2", "batch_size=2", *changes])


PIXEL = "moving={losses.pixel.weight: {first: 1.0, last: 3.0, begin: 1, end: 3}}"


@pytest.mark.parametrize(
    ("ramp", "want"),
    [
        (RampConfig(first=1.0, last=0.0, begin=10, end=20), {0: 1, 10: 1, 15: 0.5, 20: 0, 99: 0}),
        (RampConfig(first=-1.0, last=1.0, end=4), {0: -1, 1: -0.5, 4: 1}),
        (RampConfig(first=1.0, last=0.01, end=4, kind="geometric"), {0: 1, 2: 0.1, 4: 0.01, 9: 0.01}),
    ],
)
def test_a_value_is_a_function_of_the_step(ramp, want):
    assert {s: ramp.at(s) for s in want} == pytest.approx(want)


def test_the_weight_of_a_loss_moves_and_the_total_with_it(tmp_path):
    train(run_of(tmp_path, PIXEL, "steps=5"))
    rows = [json.loads(x) for x in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    weights = [r["moving/losses.pixel.weight"] for r in rows]
    assert weights == [1.0, 1.0, 2.0, 3.0, 3.0]  # of the steps 0 to 4
    for row, weight in zip(rows, weights, strict=True):
        assert row["loss/total"] == pytest.approx(weight * row["loss/pixel"] + 0.1 * row["loss/quantizer"], rel=1e-4)


def test_a_resumed_run_goes_on_with_it(tmp_path):
    whole = train(run_of(tmp_path / "a", PIXEL, "steps=4", "optimizer.schedule.kind=constant"))
    train(run_of(tmp_path / "b", PIXEL, "steps=2", "optimizer.schedule.kind=constant"))
    train(run_of(tmp_path / "b", PIXEL, "steps=4", "optimizer.schedule.kind=constant"))
    a, b = (torch.load(tmp_path / n / "out/checkpoint-00000004/state.pt", weights_only=True)["tokenizer"] for n in "ab")
    assert whole.step == 4 and all(torch.equal(v, b[k]) for k, v in a.items())


def test_a_temperature_moves_in_training_alone(tmp_path):
    quantizer = "model.config.quantizer={kind: gumbel, codebook_size: 16, temperature: 1.0}"
    moving = "moving={model.quantizer.temperature: {first: 2.0, last: 0.5, end: 2, kind: geometric}}"
    trainer = Trainer(run_of(tmp_path, quantizer, moving))
    state, met = trainer.state, []
    inner = state.tokenizer.quantizer
    inner.register_forward_hook(lambda module, *_: met.append(module.config.temperature))
    for _ in range(3):
        train_step(state, torch.rand(2, *trainer.media.shape))
    assert met == pytest.approx([2.0, 1.0, 0.5]) and inner.config.temperature == 1.0
    broken = torch.full((2, *trainer.media.shape), float("nan"))
    with pytest.raises(ArithmeticError):
        train_step(state, broken)
    assert inner.config.temperature == 1.0, "also after a step that failed"


def test_a_perturbation_fades(tmp_path):
    rate, near = "{first: 1.0, last: 0.0, begin: 0, end: 2}", "{first: 9, last: 4, begin: 0, end: 2}"
    moving = f"moving={{model.perturbation.rate: {rate}, model.perturbation.neighbours: {near}}}"
    trainer = Trainer(run_of(tmp_path, moving, name="image/robustok-debug"))
    tokenizer, met = trainer.state.tokenizer, []
    perturb = tokenizer.perturb
    tokenizer.perturb = lambda z, z_q, config: met.append((config.rate, config.neighbours)) or perturb(z, z_q, config)
    for _ in range(3):
        train_step(trainer.state, torch.rand(2, *trainer.media.shape))
    assert met == [(1.0, 9), (0.5, 6), (0.0, 4)] and tokenizer.config.perturbation.rate == 0.5


def test_what_a_discriminator_sees_is_blurred_less_and_less(tmp_path):
    dino = "{kind: dino, model: test_vit, image_size: 32, blocks: [0, 2], pretrained: false, kernel: 3}"
    judged = [f"discriminators={{dino: {dino}}}", "losses.adversarial={game: hinge, weight: 0.1}"]
    moving = "moving={discriminators.dino.augment.blur: {first: 1.0, last: 0.0, end: 2}}"
    trainer = Trainer(run_of(tmp_path, *judged, moving))
    judge, met = trainer.state.adversary.module.members["dino"], []
    judge.register_forward_hook(lambda module, *_: met.append(module.config.augment.blur))
    for _ in range(3):
        train_step(trainer.state, torch.rand(2, *trainer.media.shape))
    assert sorted(set(met), reverse=True) == [1.0, 0.5, 0.0] and judge.config.augment.blur == 0.0


@pytest.mark.parametrize(
    ("moving", "message"),
    [
        ("{losses.pixl.weight: {first: 1, last: 0, end: 2}}", "no loss 'pixl'. Did you mean 'pixel'"),
        ("{losses.pixel.weight: {first: 1, last: -1, end: 2}}", "must not be below 0"),
        ("{losses.pixel.distance: {first: 1, last: 0, end: 2}}", "allowed: losses.NAME.weight"),
        ("{optimizer.lr: {first: 1, last: 0, end: 2}}", "allowed: losses.NAME.weight"),
        ("{model.quantizer.codebook_size: {first: 1, last: 0, end: 2}}", "cannot move; here these can: none"),
        ("{model.nothing.rate: {first: 1, last: 0, end: 2}}", "cannot move"),
        ("{discriminators.dino.augment.blur: {first: 1, last: 0, end: 2}}", "no discriminator 'dino'"),
        ("{losses.pixel.weight: {first: 1, last: 0, begin: 3, end: 2}}", "begin is 3 and end 2"),
        ("{losses.pixel.weight: {first: 1, last: 0, end: 2, kind: geometric}}", "from above 0 to above 0"),
    ],
)
def test_what_cannot_move(tmp_path, moving, message):
    with pytest.raises(ConfigError, match=message):
        Trainer(run_of(tmp_path, f"moving={moving}"))
