"""Training against discriminators: each kind trains and is resumed exactly; turns, sets of discriminators, and R1 in a step.

pytest tests/train/test_adversary.py
"""

import copy

import pytest
import teacher_models
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train import TrainState, parse_run, train_step
from tokenzoo.train.config import TurnsConfig
from tokenzoo.train.discriminators import DISCRIMINATORS
from tokenzoo.train.files import load_run
from train_media import RVQ, assert_equal, audio_run, image_run

STEPS = {"kind": "constant"}
JUDGES = {
    "image": {
        "patchgan": {"channels": 4, "layers": 1},
        "blurred_patchgan": {"channels": 32, "layers": 1, "grid": 4},
        "stylegan": {"image_size": 32, "channels": 128, "most": 16},
        "dino": {
            "model": "test_vit", "image_size": 16, "blocks": [0, 1], "pretrained": False, "kernel": 3, "augment": {"probability": 0.7},
        },
    },
    "audio": {
        "multi_period": {"periods": [2, 3], "channels": [4, 8], "peak": 0.8},
        "multi_scale": {"channels": 16, "halvings": 1, "spectral_first": True},
        "multi_resolution_stft": {"windows": [128], "channels": 4},
        "multi_scale_stft": {"windows": [128], "channels": 4},
        "multi_resolution_spectrogram": {"windows": [128], "channels": 4},
        "spectrogram_patches": {"windows": [128], "channels": 4},
        "multi_frequency": {"hops": [16], "channels": [32]},
        "mel_bands": {"channels": 4, "spectrogram": {"window": 128, "bands": 10}},
        "speech_model": {"channels": 4},
    },
}  # fmt: skip
CASES = [(modality, kind) for modality, kinds in JUDGES.items() for kind in kinds]
#: Every second kind; the others among the slow tests.
SOME = [pytest.param(*case, marks=[pytest.mark.slow] * (i % 2)) for i, case in enumerate(CASES)]


def config(modality="image", judges=None, **changes):
    """A run that reads no data; `judges`: name -> settings of discriminators."""
    run = (image_run if modality == "image" else audio_run)("nowhere", "nowhere", steps=20)
    run["model"]["config"] |= {"quantizer": RVQ}
    losses = changes.pop("losses", {"adversarial": {"weight": 0.1}, "feature_matching": {}})
    run["losses"] = {"pixel" if modality == "image" else "waveform": {}, "quantizer": {}, **losses}
    judges = {"patch": {"kind": "patchgan", "channels": 4, "layers": 1, "norm": "none"}} if judges is None else judges
    return parse_run(run | {"discriminators": judges, "discriminator_optimizer": {"lr": 1e-3, "schedule": STEPS}} | changes)


def batch(step, modality="image"):
    shape = (4, 3, 32, 32) if modality == "image" else (4, 1, 1600)
    return torch.rand(shape, generator=torch.Generator().manual_seed(step)) * 2 - 1


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before, module):
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(("modality", "kind"), SOME)
def test_each_kind_learns_to_tell_and_goes_on_exactly(modality, kind, tmp_path):
    settings = {"kind": kind, **JUDGES[modality][kind]}
    if kind == "speech_model":
        settings["model"] = str(teacher_models.speech_model(tmp_path / "speech"))
    optimizer = {"lr": 2e-3, "betas": [0.5, 0.9], "schedule": STEPS}
    run = config(modality, {"it": settings}, optimizer={"lr": 0.0, "schedule": STEPS}, discriminator_optimizer=optimizer)
    whole = TrainState(run)
    found = [float(train_step(whole, batch(0, modality))["discriminator/adversarial"]) for _ in range(12)]
    assert min(found[6:]) < 0.995 * found[0], "the discriminator learns nothing"
    first = TrainState(run)
    for _ in range(10):
        train_step(first, batch(0, modality))
    saved = copy.deepcopy(first.state_dict())
    second = TrainState(run)
    second.load_state_dict(saved)
    for _ in range(2):
        train_step(second, batch(0, modality))
    assert_equal(whole.state_dict(), second.state_dict())


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ({}, [(1, 1)] * 4),
        ({"tokenizer": 1}, [(1, 1), (1, 0), (1, 1), (1, 0)]),
        ({"discriminators": 2, "both": 0, "tokenizer": 1}, [(0, 1), (0, 1), (1, 0), (0, 1)]),
    ],
)
def test_turns(turns, expected):
    """Before `adversarial_start` the tokenizer alone is trained; from there on the cycle counts."""
    state = TrainState(config(turns=turns, adversarial_start=2))
    for step in range(6):
        sides = (state.tokenizer, state.adversary.module)
        before, mean = [weights(side) for side in sides], weights(state.ema.module)
        values = train_step(state, batch(step))
        changed = tuple(int(moved(old, side)) for old, side in zip(before, sides, strict=True))
        assert changed == ((1, 0) if step < 2 else expected[step - 2]), step
        assert moved(mean, state.ema.module) == bool(changed[0])
        assert ("loss/adversarial" in values, "discriminator/adversarial" in values) == (step >= 2 and changed[0], changed[1])
    assert state.step == 6


def test_every_kind_is_covered():
    assert {kind for _, kind in CASES} | {"by_group"} == set(DISCRIMINATORS.names())


def test_updates_are_counted():
    turns = TurnsConfig(discriminators=2, both=1, tokenizer=2)
    trained = [turns.trains(step) for step in range(10)]
    assert trained == [(False, True), (False, True), (True, True), (True, False), (True, False)] * 2
    assert [turns.updates(step) for step in range(11)] == [sum(d for _, d in trained[:step]) for step in range(11)]
    with pytest.raises(ConfigError, match="one side would never be updated"):
        TurnsConfig(discriminators=3, both=0)


def test_a_state_saved_within_a_cycle_goes_on_exactly():
    run = config(turns={"discriminators": 2, "both": 0, "tokenizer": 1}, losses={"adversarial": {"r1_weight": 1.0, "r1_every": 2}})
    whole = TrainState(run)
    for step in range(7):
        train_step(whole, batch(step))
    first = TrainState(run)  # this seeds the random numbers again
    for step in range(4):
        train_step(first, batch(step))
    saved = copy.deepcopy(first.state_dict())
    second = TrainState(run)
    second.load_state_dict(saved)
    for step in range(4, 7):
        train_step(second, batch(step))
    assert_equal(whole.state_dict(), second.state_dict())


def test_r1_is_lazy_and_keeps_discriminators_flat():
    def slope(weight):
        run = config(losses={"adversarial": {"r1_weight": weight, "r1_every": 2}}, optimizer={"lr": 0.0, "schedule": STEPS})
        state = TrainState(run)
        found = ["discriminator/adversarial_penalty" in train_step(state, batch(step)) for step in range(30)]
        assert found == ([False, True] * 15 if weight else [False] * 30)
        x = batch(99).requires_grad_(True)
        (gradient,) = torch.autograd.grad(state.adversary.module(x)[0][0].logits.sum(), x)
        return float(gradient.square().sum())

    assert slope(10.0) < 0.8 * slope(0.0)


def test_two_games_train_a_set_of_discriminators_each():
    patch = {"kind": "patchgan", "channels": 4, "layers": 1, "norm": "none"}
    losses = {
        "adversarial": {"weight": 0.1, "game": "least_squares", "discriminators": ["a"]},
        "hinge": {"kind": "adversarial", "weight": 0.0, "discriminators": ["b", "c"]},
    }
    state = TrainState(config(judges={name: patch for name in "abc"}, losses=losses))
    values = train_step(state, batch(0))
    assert {"loss/adversarial", "loss/hinge", "discriminator/adversarial", "discriminator/hinge"} <= set(values)
    with pytest.raises(ConfigError, match=r"losses\.adversarial\.discriminators names 'd'"):
        config(judges={"a": patch}, losses={"adversarial": {"discriminators": ["d"]}})
    with pytest.raises(ConfigError, match="no loss trains the discriminators b"):
        config(judges={"a": patch, "b": patch}, losses={"adversarial": {"discriminators": ["a"]}})


def test_consistency_counts_for_discriminators_that_augment():
    dino = {"kind": "dino", **JUDGES["image"]["dino"]}
    state = TrainState(config(judges={"dino": dino}, losses={"adversarial": {"consistency_weight": 4.0}}))
    assert float(train_step(state, batch(0))["discriminator/adversarial_penalty"]) > 0
    plain = TrainState(config(losses={"adversarial": {"consistency_weight": 4.0}}))
    assert float(train_step(plain, batch(0))["discriminator/adversarial_penalty"]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["image/alit-debug", "image/karl-debug"])
def test_reconstructions_from_other_numbers_of_tokens_have_other_discriminators(name):
    """As in the second stages of ALIT and KARL: the roll-out, or the number of tokens, of a step names who judges it."""
    judge = "discriminators={patch: {kind: by_group, groups: 8, each: {kind: patchgan, channels: 4, layers: 1, norm: none}}}"
    more = ["model.config.random_rollout=true"] if "alit" in name else ["model.config.train_budgets=[32,64]", "losses.halting=null"]
    losses = "losses={pixel: {}, quantizer: {}, adversarial: {weight: 0.1}}"
    state = TrainState(load_run(name, ["losses.codes=null", "losses.code=null", losses, judge, "device=cpu", *more]))
    judged = set()
    for step in range(8):
        before = [weights(member) for member in state.adversary.module.members["patch"].members]
        train_step(state, batch(step) / 2 + 0.5)
        members = state.adversary.module.members["patch"].members
        (one,) = [i for i, old in enumerate(before) if moved(old, members[i])]
        judged.add(one)
    assert judged == {0, 1}
