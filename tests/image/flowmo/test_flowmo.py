"""FlowMo against the authors' outputs. Run: pytest tests/image/flowmo/test_flowmo.py"""

import dataclasses
import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
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
