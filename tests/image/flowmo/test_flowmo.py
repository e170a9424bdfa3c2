"""FlowMo against the authors' outputs. Run: pytest tests/image/flowmo/test_flowmo.py"""

import dataclasses
import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.flowmo.model import random_times
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "flowmo")


@pytest.fixture(scope="module")
def tok(folder):
    return load_reference(folder)


def test_ids(folder, tok):
    io = load_io(folder)
    x = io["input"]
    assert_close(tok.codes_of(tok.encode_latents(x))[..., :-1], io["latent"], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, io["ids"].transpose(1, 2)) and torch.equal(tok.encode(x[1]).ids, tokens.ids[1:])
    assert torch.equal(tok.codes_of(tok.quantizer.decode(tokens.ids))[..., :-1], io["quantized"])


def test_the_flow(folder, tok):
    io = load_io(folder)
    z_q = tok.quantizer.decode(tok.encode(io["input"]).ids)
    code = tok.codes_of(z_q)
    assert_close(tok.velocity(io["noise"], io["t"], code), io["velocity"], **CLOSE)
    assert_close(tok.velocity(io["noise"], io["t"], 0 * code), io["velocity_null"], **CLOSE)
    assert_close(tok.sample(z_q, noise=io["noise"]), io["decoded_raw"], **CLOSE)
    assert_close(tok.decode(tok.encode(io["input"]), noise=io["noise"]), io["decoded"], **CLOSE)


def test_options_of_decode(folder, tok):
    tokens = tok.encode(load_io(folder)["input"])
    y = tok.decode(tokens, seed=3)
    assert_close(tok.decode(tokens[1:], seed=3), y[1:], **CLOSE)
    for other in ({"seed": 4}, {"seed": 3, "steps": 2}, {"seed": 3, "guidance": 1.0}):
        assert not torch.allclose(tok.decode(tokens, **other), y, **CLOSE), other
    assert y.min() >= -1 and y.max() <= 1
    with pytest.raises(ValueError, match="noise of a picture"):
        tok.decode(tokens, noise=torch.zeros(2, 3, 8, 8))


def test_averaged_weights_come_first(folder):
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    file = {"model_state_dict": {k: v + 0.1 for k, v in state.items()}, "model_ema_state_dict": state, "total_steps": 3}
    assert torch.equal(convert("flowmo", config, file).encode(load_io(folder)["input"]).ids, load_io(folder)["ids"].transpose(1, 2))


def test_training_hides_the_bits_of_some_pictures(folder):
    """What guidance needs; with none hidden the same draws give another velocity."""
    tok, x = load_reference(folder).train(), load_io(folder)["input"]
    seen = []
    for share in (0.0, 1.0):
        tok.config = dataclasses.replace(tok.config, null_probability=share)
        torch.manual_seed(0)
        out = tok(x)
        seen.append(out.features["velocity"])
        t = torch.autograd.grad(out.features["velocity"].sum(), tok.decoder.token_in.weight)[0]
        assert bool(t.abs().sum() > 0) == (share == 0.0)
    assert not torch.allclose(*seen)


def test_times_of_sampled_steps_fall_from_one_to_zero():
    times = random_times(500, 4, torch.device("cpu"))
    assert times.shape == (500, 5) and bool((times.diff(dim=1) < 0).all())
    assert torch.equal(times[:, 0], torch.ones(500)) and float(times[:, -1].abs().max()) == 0
    lengths = -times.diff(dim=1)
    assert_close(lengths.mean(0), torch.full((4,), 0.25), atol=0.02, rtol=0)
    assert float(lengths.std()) > 0.1


def test_post_training_reaches_the_picture_through_all_steps(folder):
    """`follow` equals plain Euler steps, and its gradient theirs; with `sampled_steps` the training step ends in it."""
    tok, io = load_reference(folder).train(), load_io(folder)
    code = tok.codes_of(tok.quantizer.decode(tok.encode(io["input"]).ids)).requires_grad_()
    times = torch.tensor([[1.0, 0.6, 0.1, 0.0], [1.0, 0.9, 0.5, 0.0]])
    x = io["noise"]
    for i in range(3):
        v = tok.velocity(x, times[:, i], code)
        x = x - (times[:, i] - times[:, i + 1])[:, None, None, None] * v
    found = tok.follow(code, io["noise"], times)
    assert_close(found, x, **CLOSE)
    weights = [code, tok.decoder.token_in.weight, tok.decoder.patch_in.weight]
    for own, plain in zip(*(torch.autograd.grad(y.square().mean(), weights) for y in (found, x)), strict=True):
        assert_close(own, plain, atol=1e-6, rtol=1e-3)
    ends = []
    for steps in (0, 3):
        tok.config = dataclasses.replace(tok.config, sampled_steps=steps)
        torch.manual_seed(0)
        ends.append(tok(io["input"]))
    assert_close(ends[0].features["velocity"], ends[1].features["velocity"], **CLOSE)
    assert not torch.allclose(ends[0].x_hat, ends[1].x_hat, atol=0.01)
