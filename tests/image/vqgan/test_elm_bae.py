"""ELM's binary autoencoder against the authors' outputs. Run: pytest tests/image/vqgan/test_elm_bae.py"""

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
def test_elm(case):
    folder = reference_folder("image", "elm-bae")
    tok, io = load_reference(folder), load_io(folder)
    x, z = io[case + "input"], io[case + "encoder_output"]
    assert_close(tok.encode_latents(x), z.flatten(2), **CLOSE)
    tokens, q = tok.encode(x), tok.quantizer
    assert torch.equal(unpack_bits(tokens.ids, q.weights, q.groups).long(), io[case + "bits"].flatten(2))
    assert_close(q.probabilities(z.flatten(2))[1], io[case + "probabilities"].flatten(2), **CLOSE)
    assert_close(q.decode(tokens.ids), io[case + "quantized"].flatten(2), **CLOSE)
    assert_close(q(z.flatten(2)).metrics["code"], io[case + "code_loss"][0], **CLOSE)
    assert_close(tok.decode(tokens), io[case + "decoded"], **CLOSE)
    assert_close(tok(x).x_hat, io[case + "forward"], **CLOSE)


def test_elm_tanh_bits_and_the_gan_checkpoint():
    folder = reference_folder("image", "elm-bae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    wrapped = {
        **{"ae." + k: v for k, v in state.items()},
        "disc.main.0.weight": torch.zeros(1),
        "perceptual.x": torch.zeros(1),
    }
    tok = convert("elm-bae", {**config, "use_tanh": True}, wrapped)
    plain = convert("elm-bae", config, state)
    x = load_io(folder)["s0.input"]
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, plain.encode(x).ids)  # tanh and sigmoid change sign together
    bits = 2.0 * unpack_bits(tokens.ids, tok.quantizer.weights, tok.quantizer.groups) - 1
    assert_close(
        tok.quantizer.decode(tokens.ids), torch.einsum("bnl,nd->bdl", bits, state["quantize.embed.weight"]), **CLOSE
    )
