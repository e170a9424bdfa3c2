"""KARL against the authors' outputs. Run: pytest tests/image/karl/test_karl.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def karl():
    folder = reference_folder("image", "karl")
    return load_reference(folder), load_io(folder)


def test_the_vqgan_underneath(karl):
    tok, io = karl
    features = tok.base.features(io["input"])
    assert_close(features, io["vqgan.latent"], **CLOSE)
    assert torch.equal(tok.base.ids(features), io["vqgan.ids"].flatten(1))
    assert_close(tok.base.vqgan.decode_latents(io["vqgan.quantized"].flatten(2), (16, 16)), io["vqgan.decoded"], **CLOSE)
    assert_close(tok.grid_tokens(io["input"]), io["grid_tokens"], **CLOSE)


@pytest.mark.parametrize("quality", [0.05, 0.2])
@pytest.mark.parametrize("budget", [16, 48])
def test_karl(karl, budget, quality):
    tok, io = karl
    x, stored, wanted = io["input"], f"n{budget}.q{quality}.", {"token_budget": budget, "quality": quality}
    z, halting = tok.encode_with_halting(x, **wanted)
    assert_close(z.transpose(1, 2), io[stored + "latent"], **CLOSE)
    assert_close(halting.sigmoid(), io[stored + "halting_prob"], **CLOSE)
    whole = tok.encode(x, trim=False, **wanted)
    assert torch.equal(whole.track("token").ids[:, 0], io[stored + "ids"])
    assert torch.equal(whole.track("active").ids[:, 0], io[stored + "active"])
    assert_close(tok.quantizer.decode(whole.ids[:, :1]).transpose(1, 2), io[stored + "quantized"], **CLOSE)
    logits = tok.decode_logits(tok.quantizer.decode(whole.ids[:, :1]), active=whole.ids[:, 1] == 1)
    assert_close(logits[:, ::8], io[stored + "decoder_logits"], **CLOSE)
    assert_close(tok.decode(whole), io[stored + "decoded"], **CLOSE)
    cut = tok.encode(x, **wanted)  # tokens behind the last needed one play no part
    assert_close(tok.decode(cut), io[stored + "decoded"], **CLOSE)
    last = [int(row.nonzero().max()) + 1 for row in io[stored + "active"]]
    assert cut.lengths.tolist() == last


def test_karl_without_flags_counts_every_token(karl):
    tok, io = karl
    tokens = tok.encode(io["input"], trim=False)
    assert not torch.allclose(tok.decode(tokens), tok.decode(tokens.first(codebooks=1)), atol=1e-3)


def test_a_wanted_error_is_rounded_up(karl):
    tok, io = karl
    x = io["input"]
    assert torch.equal(tok.encode_latents(x, quality=0.055), tok.encode_latents(x, quality=0.06))
    assert torch.equal(tok.encode_latents(x, quality=7.0), tok.encode_latents(x, quality=0.38))
    with pytest.raises(ValueError, match="1 to 512"):
        tok.encode(x, token_budget=513)


def test_strict():
    folder = reference_folder("image", "karl")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    with pytest.raises(ValueError, match="'vae'"):
        convert("karl", {**config, "base_tokenizer": {"id": "vae"}}, state)
    with pytest.raises(ValueError, match="quantize_latent"):
        convert("karl", {**config, "quantize_latent": False}, state)
    with pytest.raises(ValueError, match="adaln"):
        convert("karl", {**config, "adaln": True}, state)
