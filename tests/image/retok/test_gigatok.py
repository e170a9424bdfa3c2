"""GigaTok against the authors' outputs. Run: pytest tests/image/retok/test_gigatok.py"""

import json

import pytest
import torch
from image_cases import check_one_dimensional
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert

CLOSE = {"atol": 2e-4, "rtol": 1e-4}


def parts():
    folder = reference_folder("image", "gigatok")
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors"), load_io(folder)


def test_reference():
    config, state, io = parts()
    tok = convert("gigatok", config, state)
    check_one_dimensional(tok, io, **CLOSE)


def test_all_tokens_or_none():
    config, state, io = parts()
    tok = convert("gigatok", config, state)
    assert tok.spec.num_positions == 64 and tok.spec.prefix == ()
    with pytest.raises(ValueError, match="decodes 64"):
        tok.decode(tok.encode(io["input"]).first(positions=8))


def test_averaged_weights_come_first():
    """As in the authors' loader: `ema`, then `model`, then `state_dict`; the training's YAML is read as it is."""
    config, state, io = parts()
    raw = {k: v + 0.1 for k, v in state.items()}
    yaml = {"model": {"model_cls": "VQVitModelPlus", "init_args": config}, "trainer": {"lr": 1e-4}}
    tok = convert("gigatok", yaml, {"model": raw, "ema": state, "optimizer": {}, "steps": 3})
    assert torch.equal(tok.encode(io["input"]).ids[:, 0], io["ids"])


def test_other_queries():
    """The mean of the grid for all tokens, or learned vectors; their classes' default is the first."""
    config, state, _ = parts()
    tok = convert("gigatok", {**config, "multi_level_query_init": False}, state)
    start = tok.sampler.start(torch.randn(2, 24, 8, 8))
    assert start.shape == (2, 64, 24) and torch.equal(start[:, 0], start[:, 63])
    learned = {k: v for k, v in state.items() if "global_proj" not in k} | {"s2to1encoder.query_1d": torch.randn(64, 1, 24)}
    config = {**config, "multi_level_query_init": False, "learnable_1d_query_init": True}
    tok = convert("gigatok", config, learned)
    assert torch.equal(tok.sampler.start(torch.randn(2, 24, 8, 8))[1], learned["s2to1encoder.query_1d"][:, 0])
    with pytest.raises(ValueError, match="exclude"):
        convert("gigatok", {**config, "multi_level_query_init": True}, learned)
    with pytest.raises(ValueError, match="redundant"):
        convert("retok", config, learned)
