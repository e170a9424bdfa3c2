"""TokenBridge against the authors' outputs. Run: pytest tests/image/kl_tokens/test_tokenbridge.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.quantizers import build
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-4, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "tokenbridge")
    tok, io = load_reference(folder), load_io(folder)
    x = io[case + "input"]
    mean, deviation = tok.posterior(x)
    moments = io[case + "moments"]
    assert_close(mean, moments[:, :4], **CLOSE)
    assert_close(deviation, (0.5 * moments[:, 4:].clamp(-30, 20)).exp(), **CLOSE)
    assert_close(tok.encode_latents(x), io[case + "latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, io[case + "ids"].flatten(2))
    assert_close(tok.quantizer.decode(tokens.ids), io[case + "dequantized"].flatten(2), **CLOSE)
    assert_close(tok.decode(tokens), io[case + "decoded"], **CLOSE)
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    assert_close(tok.decode_latents(tok.encode_latents(x), tokens.grid), io[case + "decoded_unquantized"], **CLOSE)


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_a_draw_from_the_posterior(case):
    folder = reference_folder("image", "tokenbridge")
    tok, io = load_reference(folder), load_io(folder)
    tokens = tok.encode(io[case + "input"], noise=io[case + "noise"])
    assert torch.equal(tokens.ids, io[case + "ids_sampled"].flatten(2))
    assert_close(tok.decode(tokens), io[case + "decoded_sampled"], **CLOSE)


def test_grid_of_values():
    io = load_io(reference_folder("image", "tokenbridge"))
    q = build("dimension_wise", dim=1, levels=64, low=-5.0, high=5.0)
    ids = q.encode(io["grid"][None, None])
    assert torch.equal(ids[0, 0], io["grid_ids"])
    assert_close(q.decode(ids)[0, 0], io["grid_dequantized"], **CLOSE)


def test_without_a_variance():
    folder = reference_folder("image", "tokenbridge")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    half = {k: v[:4] if k.startswith("quant_conv") else v for k, v in state.items()}
    tok = convert("tokenbridge", {**config, "use_variational": False}, half)
    io = load_io(folder)
    assert torch.equal(tok.encode(io["s0.input"]).ids, io["s0.ids"].flatten(2))
