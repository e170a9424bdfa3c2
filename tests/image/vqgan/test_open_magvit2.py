"""Open-MAGVIT2, WeTok and BitDance against the authors' outputs. Run: pytest tests/image/vqgan/test_open_magvit2.py"""

import json

import pytest
import torch
from image_cases import check_case
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_open_magvit2(case):
    folder = reference_folder("image", "open-magvit2")
    check_case(load_reference(folder), load_io(folder), case, atol=5e-5)


@pytest.mark.parametrize("case", ["s0.", "s1."])
@pytest.mark.parametrize("system", ["wetok", "bitdance-ae"])
def test_sign_bits(system, case):
    folder = reference_folder("image", system)
    tok, io = load_reference(folder), load_io(folder)
    x = io[case + "input"]
    assert_close(tok.encode_latents(x), io[case + "latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tok.quantizer.unpack(tokens.ids).long(), io[case + "bits"].flatten(2))
    if system == "wetok":  # one id a group, groups last in the stored ids
        assert torch.equal(tokens.ids, io[case + "ids"].flatten(1, 2).transpose(1, 2))
    assert_close(tok.quantizer.decode(tokens.ids), io[case + "quantized"].flatten(2), **CLOSE)
    assert_close(tok.decode(tokens), io[case + "decoded"], **CLOSE)
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])


def _wetok():
    folder = reference_folder("image", "wetok")
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors"), load_io(folder)


def test_factorised_ids_are_the_same_bits():
    config, state, io = _wetok()
    split = convert("wetok", {**config, "token_factorization": True, "factorized_bits": [5, 7]}, state)
    whole = convert("wetok", config, state)
    x = io["s0.input"]
    a, b = split.encode(x), whole.encode(x)
    assert a.vocab_sizes == (32, 128)
    assert torch.equal(split.quantizer.unpack(a.ids), whole.quantizer.unpack(b.ids))
    assert torch.equal(split.decode(a), whole.decode(b))
    with pytest.raises(ValueError, match="factorized_bits"):
        convert("wetok", {**config, "token_factorization": True, "factorized_bits": [5, 5]}, state)


def test_noisy_decoder_depends_on_the_seed_alone():
    """The generative decoder reads noise beside the code; zero weights for it give the plain decoder's picture."""
    config, state, io = _wetok()
    stem = state["decoder.conv_in.weight"]
    x = io["s0.input"]
    silent = convert(
        "wetok", {**config, "gan_decoder": True}, {**state, "decoder.conv_in.weight": torch.cat([stem, 0 * stem], 1)}
    )
    tokens = silent.encode(x)
    assert_close(silent.decode(tokens), io["s0.decoded"], **CLOSE)
    noisy = convert(
        "wetok", {**config, "gan_decoder": True}, {**state, "decoder.conv_in.weight": torch.cat([stem, stem], 1)}
    )
    first = noisy.decode(tokens, seed=3)
    assert torch.equal(first, noisy.decode(tokens, seed=3)) and not torch.equal(first, noisy.decode(tokens, seed=4))
    assert_close(noisy.decode(tokens[1], seed=3), first[1:], **CLOSE)
    noise = torch.randn(2, 12, 8, 8, generator=torch.Generator().manual_seed(0))
    given = noisy.decode(tokens, noise=noise)
    z = noisy.quantizer.decode(tokens.ids).unflatten(2, (8, 8))
    with torch.no_grad():
        doubled = convert("wetok", config, {**state, "decoder.conv_in.weight": stem})
        doubled.decoder.stem.register_forward_pre_hook(lambda module, args: (args[0] + noise,))
        assert_close(given, doubled.decoder(z), **CLOSE)  # equal weights for both: as if noise were added at the stem
    assert_close(noisy(x).x_hat, noisy.decode(tokens), **CLOSE)
