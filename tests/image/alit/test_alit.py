"""ALIT against the authors' outputs. Run: pytest tests/image/alit/test_alit.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def alit():
    folder = reference_folder("image", "alit")
    return load_reference(folder), load_io(folder)


@pytest.mark.parametrize("rollout", [0, 1, 2])
def test_alit(alit, rollout):
    tok, io = alit
    x, uniform, stored = io["input"], io["uniform"], f"iter{rollout}."
    run = tok.roll(x, uniform=uniform)[rollout]
    assert_close(run.z.transpose(1, 2), io[stored + "latent"], **CLOSE)
    assert_close(run.quantized.z_q.transpose(1, 2), io[stored + "quantized"], **CLOSE)
    codes = tok.base.ids(tok.base.features(x))
    assert_close(run.logits.softmax(-1).gather(2, codes[..., None])[..., 0], io[stored + "grid_code_probability"], **CLOSE)
    tokens = tok.encode(x, token_budget=8 * (rollout + 1), uniform=uniform)
    assert torch.equal(tokens.ids[:, 0], io[stored + "ids"])
    single = tok.encode(x[1:], token_budget=8 * (rollout + 1), uniform=uniform[:, 1:])
    assert torch.equal(single.ids, tokens.ids[1:])
    assert_close(tok.decode(tokens), io[stored + "decoded"], **CLOSE)


def test_alit_stops_when_the_picture_is_good_enough(alit):
    tok, io = alit
    x = io["input"]
    with torch.no_grad():  # the way that encode goes, to the last bit
        errors = torch.stack([(tok.base.pixels(r.logits) - x).abs().flatten(1).mean(1) for r in tok.roll(x)])  # [R, B]
    wanted = float(errors.median())
    tokens = tok.encode(x, quality=wanted)
    for item in range(2):
        good = (errors[:, item] < wanted).nonzero()
        index = int(good[0]) if len(good) else int(errors[:, item].argmin())
        assert tokens.lengths[item] == 8 * (index + 1)
    with pytest.raises(ValueError, match="whole number of roll-outs"):
        tok.decode(tokens[0].first(positions=5))


def test_alit_draws_from_its_seed(alit):
    tok, io = alit
    x = io["input"]
    assert torch.equal(tok.encode_latents(x), tok.encode_latents(x))
    assert torch.equal(tok.encode(x, seed=1).ids, tok.encode(x, seed=1).ids)


def test_second_stage_checkpoints_bring_their_losses(alit):
    """They are named and dropped; everything else must be known."""
    folder = reference_folder("image", "alit")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    tok = convert("alit", config, {**state, "gan_losses.0.discriminator.main.0.weight": torch.zeros(1)})
    assert torch.equal(tok.encode_latents(alit[1]["input"]), alit[0].encode_latents(alit[1]["input"]))


def test_strict():
    folder = reference_folder("image", "alit")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    with pytest.raises(ValueError, match="'vae'"):
        convert("alit", {**config, "base_tokenizer": {"id": "vae"}}, state)
    with pytest.raises(ValueError, match="quantize_latent"):
        convert("alit", {**config, "quantize_latent": False}, state)
    with pytest.raises(ValueError, match="adaln"):
        convert("alit", {**config, "adaln": True}, state)
