"""FDT's dictionary against the authors' outputs. Run: pytest tests/image/fdt/test_fdt.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "fdt")


@pytest.mark.parametrize("side", ["image", "text"])
def test_reference(folder, side):
    tok, io = load_reference(folder), load_io(folder)
    x = io["patch_features" if side == "image" else "token_features"].transpose(1, 2)  # [B, C, N]
    padding = io["token_mask"] if side == "text" else None  # the authors' class keeps the positions whose mask is 0
    io = {k.removeprefix(f"{side}."): v for k, v in io.items() if k.startswith(side)}
    z = tok.queries(x, side=side)
    assert_close(z.transpose(1, 2), io["queries"], **CLOSE)
    scores = tok.scores(z)
    if padding is not None:  # with a mask the authors show the scaled and masked scores
        scores = scores / 24**0.5 * (padding == 0).unsqueeze(2)
    assert_close(scores, io["token_attention"], **CLOSE)
    out = tok.mixture(x, side=side, padding=padding)
    assert_close(out.weights, io["weights"], **CLOSE)
    assert_close(out.feature, io["feature"], **CLOSE)
    assert torch.equal(out.support.long(), io["support"]) and torch.equal(out.weights.argmax(-1), io["top_id"])
    single = tok.mixture(x[:1], side=side, padding=None if padding is None else padding[:1])
    assert_close(single.weights, out.weights[:1], **CLOSE)


def test_ids(folder):
    """The id of a position is the code that its scores favour; with max pooling the strongest of them is the picture's first."""
    tok, io = load_reference(folder), load_io(folder)
    x = io["patch_features"].transpose(1, 2)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["image.token_attention"].argmax(-1))
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    best = io["image.token_attention"].amax(-1).argmax(-1, keepdim=True)
    assert torch.equal(tokens.ids[:, 0].gather(1, best)[:, 0], io["image.top_id"])
    assert_close(tok.decode(tokens).transpose(1, 2), load_file(folder / "weights.safetensors")["space_dict"][tokens.ids[:, 0]])
    with pytest.raises(ValueError, match="C=20"):
        tok.mixture(x, side="text")


@pytest.mark.parametrize("pool", ["max", "mean", "sum"])
@pytest.mark.parametrize("weights", ["sparsemax", "softmax", "sigmoid"])
def test_options(folder, weights, pool):
    """Each way to pool and to weigh, in plain numbers; the published file's form."""
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    config |= {"att_func_type": weights, "pool_type": pool}
    more = {"visual.conv1.weight": torch.ones(1), "encode_text.x": torch.ones(1), "logit_scale": torch.ones(1)}
    tok = convert("fdt", config, {"model": {f"module.{k}": v for k, v in (state | more).items()}})
    x = load_io(folder)["patch_features"].transpose(1, 2)
    scores = tok.queries(x).transpose(1, 2).double() @ state["space_dict"].double().T / 24**0.5 / 2.5
    pooled = {"max": scores.max(1).values, "mean": scores.mean(1), "sum": scores.sum(1)}[pool]
    out = tok.mixture(x)
    if weights == "sparsemax":  # the projection: what stands above one threshold, and sums to one
        want = torch.stack([(row - threshold(row)).clamp(min=0) for row in pooled])
    else:
        want = pooled.softmax(-1) if weights == "softmax" else pooled.sigmoid()
    assert_close(out.weights.double(), want, atol=1e-5, rtol=1e-4)
    feature = want @ state["space_dict"].double() / (want.sum(-1, keepdim=True) if weights == "sigmoid" else 1)
    assert_close(out.feature.double(), feature, atol=1e-5, rtol=1e-4)


def threshold(row):
    low, high = row.min() - 1, row.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (row - middle).clamp(min=0).sum() > 1 else (low, middle)
    return low
