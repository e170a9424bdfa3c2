"""Weight norm in training: it changes no output, it changes how weights move, and what is saved has none.

pytest tests/train/test_weight_norm.py
"""

import pytest
import tokenzoo
import torch
from contract_cases import build
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.layouts.systems import converter
from tokenzoo.train import TrainState, load_run, parse_run, train_step
from tokenzoo.train.loop import train
from tokenzoo.train.pretrained import open_pretrained
from tokenzoo.train.resume import publish_model
from train_media import assert_equal, write_sounds

#: layout -> family; the first spells norms as `weight_g`, the second as a parametrization
LAYOUTS = {"dac": "dac", "snac": "snac"}


@pytest.fixture(scope="module", params=LAYOUTS)
def published(request, tmp_path_factory):
    """A tiny tokenizer, and the folder with it in its authors' layout."""
    torch.manual_seed(0)
    tokenizer, folder = build(LAYOUTS[request.param]), tmp_path_factory.mktemp("published") / request.param
    return request.param, tokenizer, tokenzoo.save_pretrained(tokenizer, folder, layout=request.param)


def run(init, clips="nowhere", output="nowhere", model=None, **changes):
    return parse_run({
        "init": f"file:{init}", "model": {"weight_norm": ["published"]} if model is None else model, "output": str(output),
        "data": {"kind": "audio", "train": str(clips), "crop_seconds": 0.1, "min_level_db": -100.0},
        "losses": {"waveform": {}, "quantizer": {}}, "optimizer": {"lr": 1e-3, "schedule": {"kind": "constant"}},
        "device": "cpu", "threads": 1, "batch_size": 2, "steps": 4, "tensorboard": False,
        "every": {"log": 0, "checkpoint": 2, "preview": 0, "validate": 0}, **changes,
    })  # fmt: skip


def batch(state, step=0):
    shape = (2, state.tokenizer.spec.channels, 16 * state.tokenizer.spec.hop_samples)
    return torch.randn(shape, generator=torch.Generator().manual_seed(step)) * 0.1


def test_the_weights_that_are_published_with_a_norm_are_trained_with_one(published):
    layout, tokenizer, folder = published
    state = TrainState(run(folder))
    theirs = converter(layout).write(tokenizer.state_dict(), tokenizer.config)
    assert len(state.normed) == sum(key.endswith(("weight_v", "original1")) for key in theirs) > 15
    x = batch(state)
    with torch.no_grad():
        before, after = tokenizer.eval()(x), state.tokenizer.eval()(x)
    assert torch.equal(before.quantized.ids, after.quantized.ids) and torch.allclose(before.x_hat, after.x_hat, atol=1e-5)


def test_length_and_direction_move_apart(published):
    """The gradient of a direction is at a right angle to it, for each output channel: only g changes a weight's length."""
    state = TrainState(run(published[2], ema={"decay": 0.0}, grad_clip=0.0, optimizer={"lr": 0.0}))
    train_step(state, batch(state))
    checked = 0
    for name in state.normed:
        weight = state.tokenizer.get_submodule(name).parametrizations.weight
        g, v = weight.original0, weight.original1
        if v.grad is None or not v.grad.any():
            continue
        checked += 1
        dots = (v.grad * v).flatten(1).sum(1)
        assert (dots.abs() < 1e-4 * v.grad.flatten(1).norm(dim=1) * v.flatten(1).norm(dim=1) + 1e-9).all()
        assert g.grad.any()
    assert checked > len(state.normed) // 2


def test_what_is_saved_is_plain_and_goes_back_into_the_layout(published, tmp_path):
    layout, tokenizer, folder = published
    clips = write_sounds(tmp_path / "clips", 2, seconds=0.5, rate=tokenizer.spec.sample_rate_hz)
    train(run(folder, clips, tmp_path / "run"))
    mine = tokenzoo.load(f"file:{tmp_path / 'run'}")
    assert mine.state_dict().keys() == tokenizer.state_dict().keys()
    old = tokenizer.state_dict()
    assert any(not torch.equal(w, old[n]) for n, w in mine.state_dict().items() if n.startswith("decoder."))
    theirs = [converter(layout).write(t.state_dict(), t.config).keys() for t in (tokenizer, mine)]
    assert theirs[0] == theirs[1]
    back = tokenzoo.load(f"file:{mine.save_pretrained(tmp_path / 'back', layout=layout)}")
    x = torch.randn(1, 1, 16 * mine.spec.hop_samples) * 0.1
    assert torch.equal(back.encode(x).ids, mine.encode(x).ids)
    for checkpoint in ("run", "run/checkpoint-00000002"):  # another run starts from it, and knows the layout
        found = open_pretrained(str(tmp_path / checkpoint))
        assert found.weights.keys() == old.keys() and found.layout == layout
    assert_equal(open_pretrained(str(tmp_path / "run")).weights, mine.state_dict())


def test_a_run_goes_on_exactly(published, tmp_path):
    folder = published[2]
    clips = write_sounds(tmp_path / "clips", 2, seconds=0.5, rate=published[1].spec.sample_rate_hz)
    train(run(folder, clips, tmp_path / "whole"))
    for steps in (2, 4):
        train(run(folder, clips, tmp_path / "parts", steps=steps))
    saved = [torch.load(tmp_path / name / "checkpoint-00000004/state.pt") for name in ("whole", "parts")]
    assert_equal(*saved)
    assert any("parametrizations" in name for name in saved[0]["tokenizer"])


def test_parts_by_name(published):
    folder = published[2]
    state = TrainState(run(folder, model={"weight_norm": ["decoder"]}))
    assert state.normed and all(name.startswith("decoder") for name in state.normed)
    whole = TrainState(run(folder, model={"weight_norm": ["encoder", "decoder", "quantizer"]}))
    assert set(whole.normed) == set(TrainState(run(folder)).normed), "as the recipes of these two name them"
    with pytest.raises(ConfigError, match="names 'decodr', which is no part"):
        TrainState(run(folder, model={"weight_norm": ["decodr"]}))
    own = tokenzoo.save_pretrained(published[1], folder.parent / "own")
    with pytest.raises(ConfigError, match="was not loaded from an authors' layout"):
        TrainState(run(own))


@pytest.mark.parametrize("name", ["audio/dualcodec-debug", "audio/xcodec2-debug"])
def test_saving_draws_no_random_numbers(name, tmp_path):
    """The copy that is saved has layers of transformers, which draw first weights when they are made."""
    settings = ["data.train=nowhere", "data.valid=[]", f"output={tmp_path}", "threads=1", "device=cpu", "model.weight_norm=[decoder]"]
    state, before = TrainState(load_run(name, settings)), torch.get_rng_state()
    publish_model(state, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
