"""UniWeTok against the authors' outputs. Run: pytest tests/image/uniwetok/test_uniwetok.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.quantizers.parts.bits import unpack_bits
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "uniwetok")
    tok, io = load_reference(folder), load_io(folder)
    x = io[case + "input"]
    assert_close(tok.encode_features(x), io[case + "pre_activation"], **CLOSE)
    assert_close(tok.encode_latents(x), io[case + "latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    bits = unpack_bits(tokens.ids, tok.quantizer.weights, tok.quantizer.groups)
    assert torch.equal(bits.long(), io[case + "bits"].flatten(2))
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])
    assert_close(tok.quantizer.decode(tokens.ids), io[case + "quantized"].flatten(2), **CLOSE)
    noise = io[case + "noise"]
    assert_close(tok.decode(tokens, noise=noise), io[case + "decoded"], **CLOSE)
    assert_close(tok.decode(tokens[1], noise=noise[1:]), io[case + "decoded"][1:], **CLOSE)
    assert_close(tok.decode(tokens, noise=torch.zeros_like(noise)), io[case + "decoded_zero_noise"], **CLOSE)


def test_the_seed_decides_the_pixels():
    folder = reference_folder("image", "uniwetok")
    tok, io = load_reference(folder), load_io(folder)
    tokens = tok.encode(io["s0.input"])
    assert torch.equal(tok.decode(tokens, seed=3), tok.decode(tokens, seed=3))
    assert not torch.allclose(tok.decode(tokens, seed=3), tok.decode(tokens, seed=4), atol=1e-2)
    assert_close(tok.decode(tokens, seed=3)[1], tok.decode(tokens[1], seed=3)[0], **CLOSE)


def test_averaged_weights_are_used():
    folder = reference_folder("image", "uniwetok")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    averages = {"model_ema." + k.replace(".", ""): v for k, v in state.items()}
    trained = {"state_dict": {**{k: torch.zeros_like(v) for k, v in state.items()}, **averages}}
    x = load_io(folder)["s0.input"]
    assert convert("uniwetok", config, trained).encode(x).equal(convert("uniwetok", config, state).encode(x))


def test_strict():
    folder = reference_folder("image", "uniwetok")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    with pytest.raises(ValueError, match="in_channels"):
        convert("uniwetok", {"ddconfig": {**config["ddconfig"], "in_channels": 1}}, state)
    with pytest.raises(ValueError, match="gan_decoder"):
        convert("uniwetok", {**config, "gan_decoder": False}, state)
