"""`TrainState` alone: steps on batches of one's own, saved and gone on with exactly, in any precision.

    pytest tests/train/test_state.py
"""

import copy
import random

import numpy as np
import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.image.convnet import ConvTokenizer
from tokenzoo.codecs.serialize import load_folder, save_folder
from tokenzoo.train import TrainState, parse_run, train_step
from tokenzoo.train.finite import NonFiniteLoss
from tokenzoo.train.loop import train
from tokenzoo.train.state import PER_PROCESS
from train_media import FSQ, RVQ, assert_equal, image_run, write_pictures

GAME = {
    "losses": {"pixel": {}, "quantizer": {}, "adversarial": {"weight": 0.1, "lecam_weight": 0.01}, "feature_matching": {}},
    "discriminators": {"patchgan": {"channels": 4, "layers": 1, "norm": "none"}},
    "adversarial_start": 2,
}


def config(**changes):
    """A run that reads no data."""
    run = image_run("nowhere", "nowhere", steps=20, **changes)
    run["model"]["config"] = run["model"]["config"] | {"quantizer": RVQ}
    return parse_run(run)


def batch(step):
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(step)) * 2 - 1


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_state_that_was_saved_goes_on_as_if_it_had_not_been(tmp_path, precision):
    """Quantizer dropout, replacement of dead codes, the running mean, both optimisers and the adversary all take part."""
    run = config(**GAME, balance={"kind": "gradients"} if precision == "float32" else {}, precision=precision)
    whole = TrainState(run)
    for step in range(7):
        train_step(whole, batch(step))
    first = TrainState(run)
    for step in range(4):
        train_step(first, batch(step))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    torch.rand(7)  # whatever happens in between
    second = TrainState(run)
    second.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert (second.step, second.position) == (4, 16)
    for step in range(4, 7):
        train_step(second, batch(step))
    assert_equal(whole.state_dict(), second.state_dict())
    different = copy.deepcopy(whole.state_dict())
    train_step(whole, batch(7))
    with pytest.raises(AssertionError):
        assert_equal(whole.state_dict(), different)


def test_what_a_state_holds():
    state = TrainState(config(**GAME))
    held = state.state_dict()
    assert set(held) == {
        *("tokenizer", "losses", "balancer", "optimizer", "ema", "discriminators", "judge_optimizer", "step"),
        *PER_PROCESS,
    }
    with pytest.raises(ConfigError, match="no discriminators, judge_optimizer: it is that of a run with another config"):
        state.load_state_dict(TrainState(config()).state_dict())


def test_fine_tuning_without_the_loop(tmp_path):
    torch.manual_seed(1)
    mine = TrainState(config()).tokenizer.eval()
    before = {k: v.clone() for k, v in mine.state_dict().items()}
    run = parse_run({
        "data": {"kind": "images"}, "output": "nowhere", "losses": {"pixel": {"distance": "l2"}, "quantizer": {}}, "device": "cpu",
        "optimizer": {"lr": 1e-2, "schedule": {"kind": "constant"}}, "ema": {"decay": 0.5}, "threads": 1,
    })  # fmt: skip
    state = TrainState(run, tokenizer=mine)
    losses = [float(train_step(state, batch(0))["loss/pixel"]) for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]
    assert state.tokenizer is mine
    mine.eval()  # looked at in between; the next step trains it all the same
    norm = train_step(state, [batch(0)[:2], batch(0)[2:]])["grad_norm"]
    assert mine.training and float(norm) > 0
    save_folder(state.best(), tmp_path / "mine")
    saved = load_folder(tmp_path / "mine").state_dict()
    assert all(torch.equal(v, saved[k]) for k, v in state.ema.module.state_dict().items())
    assert any(not torch.equal(v, saved[k]) for k, v in before.items())


def test_the_batch_is_checked():
    state = TrainState(config())
    for bad in (torch.zeros(4, 1, 32, 32), torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(0, 3, 32, 32), torch.zeros(3, 32)):
        with pytest.raises(ValueError, match=r"a batch is float32 \[B, 3, \.\.\.\]"):
            train_step(state, bad)
    with pytest.raises(ValueError, match="no parts"):
        train_step(state, [])
    assert state.step == 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_narrow_precision_learns_what_float32_learns(precision):
    found = {}
    for kind in ("float32", precision):
        run = image_run("nowhere", "nowhere", steps=20, precision=kind, optimizer={"lr": 1e-2, "schedule": {"kind": "constant"}})
        state = TrainState(parse_run(run | {"model": {"family": "convnet", "config": run["model"]["config"] | {"quantizer": FSQ}}}))
        found[kind] = [float(train_step(state, batch(0))["loss/pixel"]) for _ in range(15)]
        assert all(p.dtype == torch.float32 for p in state.tokenizer.parameters())
    wide, narrow = found.values()
    assert wide != narrow
    assert wide[-1] < 0.8 * wide[0]
    assert narrow[-1] == pytest.approx(wide[-1], rel=0.1)


def test_float16_drops_steps_that_overflow_and_scales_less():
    state = TrainState(config(precision="float16"))
    before = {k: v.clone() for k, v in state.tokenizer.named_parameters()}
    scale = state.scaler.get_scale()
    hook = next(state.tokenizer.parameters()).register_hook(lambda grad: grad * float("inf"))
    train_step(state, batch(0))
    assert all(torch.equal(v, before[k]) for k, v in state.tokenizer.named_parameters())
    assert state.scaler.get_scale() == scale / 2
    with pytest.raises(NonFiniteLoss, match="does not fit into float16"):
        for _ in range(40):
            train_step(state, batch(0))
    hook.remove()


def test_looking_at_a_run_changes_nothing(tmp_path, monkeypatch):
    """Validation and previews move no random numbers: a run that is validated at every step ends with the same weights."""
    pictures = write_pictures(tmp_path / "pictures", 6)
    ends, drawn = [], []
    forward = ConvTokenizer.decode_latents

    def noisy(self, *arguments, **named):  # as of decoders that sample
        if not self.training:
            drawn.append((float(torch.rand(())), np.random.rand(), random.random()))
        return forward(self, *arguments, **named)

    monkeypatch.setattr(ConvTokenizer, "decode_latents", noisy)
    for name, count in (("seldom", 0), ("often", 1)):
        every = {"log": 0, "checkpoint": 0, "preview": count, "preview_items": 2, "validate": count, "validate_items": 4}
        run = image_run(pictures, tmp_path / name, every=every)
        run["data"] |= {"valid": str(pictures)}
        run["model"]["config"] |= {"quantizer": RVQ}
        train(parse_run(run))
        ends.append({f: torch.load(tmp_path / name / "checkpoint-00000006" / f) for f in ("state.pt", "rank-0.pt")})
    assert_equal(*ends)
    assert len(drawn) == 12
    assert len({value for value, _, _ in drawn}) < len(drawn)  # each time the same numbers, so that figures can be compared


def test_settings_of_accelerate_from_elsewhere_are_refused(monkeypatch):
    """They would cast networks by themselves, whatever `precision` says."""
    from accelerate import Accelerator

    monkeypatch.setattr("accelerate.state.AcceleratorState._shared_state", {})
    Accelerator(cpu=True, mixed_precision="bf16")
    with pytest.raises(ConfigError, match="other settings of accelerate"):
        TrainState(config())
