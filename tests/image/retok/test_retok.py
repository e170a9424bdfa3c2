"""ReTok against the authors' outputs. Run: pytest tests/image/retok/test_retok.py"""

import json

import pytest
import torch
from image_cases import check_one_dimensional
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.retok.model import block_means
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def case():
    folder = reference_folder("image", "retok")
    return load_reference(folder), load_io(folder)


def parts():
    folder = reference_folder("image", "retok")
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")


def test_reference(case):
    tok, io = case
    check_one_dimensional(tok, io, **CLOSE)


@pytest.mark.parametrize("positions", [1, 8, 40])
def test_any_prefix_decodes(case, positions):
    tok, io = case
    tokens = tok.encode(io["input"])
    assert_close(tok.decode(tokens.first(positions=positions)), io[f"decoded_first{positions}"], **CLOSE)
    assert_close(tok.decode(tokens, num_tokens=positions), io[f"decoded_first{positions}"], **CLOSE)


def test_redundant_tokens_are_read_on_request(case):
    tok, io = case
    tokens = tok.encode(io["input"])
    assert tokens.ids.shape[2] == 64 + 56
    assert_close(tok.decode(tokens, num_tokens=120), io["decoded_all"], **CLOSE)
    with pytest.raises(ValueError, match="1 or more"):
        tok.decode(tokens, num_tokens=0)


def test_block_means():
    """1 + 1 + 2 + 4 + 8 means: the whole twice, left and right halves, quarters, quarters cut in two across columns."""
    x = torch.arange(16.0).view(1, 1, 4, 4)
    got = block_means(x, 16)[0, :, 0]
    assert_close(got[:4], torch.tensor([7.5, 7.5, 6.5, 8.5]))
    assert_close(got[4:8], torch.tensor([2.5, 4.5, 10.5, 12.5]))
    assert_close(got[8:], torch.tensor([2.0, 3.0, 4.0, 5.0, 10.0, 11.0, 12.0, 13.0]))


def test_the_other_spelling_of_attention(case):
    """With `use_flash_attn` or `use_qk_norm` the authors' class holds one linear map for each of query, key and value."""
    tok, io = case
    config, state = parts()
    split = {}
    for key, value in state.items():
        stem, _, end = key.rpartition(".")
        if end.startswith("in_proj_"):
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                split[f"{stem}.{part}_proj.{end.removeprefix('in_proj_')}"] = piece
        else:
            split[key.replace("attn.out_proj.", "attn.wo.")] = value
    again = convert("retok", {**config, "use_flash_attn": True}, split)
    assert torch.equal(again.encode(io["input"]).ids[:, 0], io["ids"])
    norms = {
        f"{side}.transformer.{i}.{a}.{n}.{e}": torch.ones(12) if e == "weight" else torch.zeros(12)
        for side in ("s2to1encoder", "s1to2decoder")
        for i in range(2)
        for a in ("self_attn", "multihead_attn")
        for n in ("q_norm", "k_norm")
        for e in ("weight", "bias")
    }
    normed = convert("retok", {**config, "use_qk_norm": True}, {**split, **norms})
    assert not torch.allclose(normed.encode_latents(io["input"]), tok.encode_latents(io["input"]), atol=1e-3)


def test_strict():
    config, state = parts()
    with pytest.raises(ValueError, match="use_rope"):
        convert("retok", {**config, "use_rope": True}, state)
    with pytest.raises(ValueError, match="causal_type"):
        convert("retok", {**config, "causal_type": "per-token"}, state)
    with pytest.raises(ValueError, match="encoder_size"):
        convert("retok", {**config, "encoder_size": "giant"}, state)
