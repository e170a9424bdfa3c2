"""Instella-T2I's binary autoencoder against the authors' outputs. Run: pytest tests/image/instella/test_instella.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.quantizers.parts.bits import unpack_bits
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.mark.parametrize("scale", [0, 128])
@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case, scale):
    folder = reference_folder("image", "instella-bae")
    tok, io = load_reference(folder).set_position_scale(scale), load_io(folder)
    x, stored = io[case + "input"], case + (f"scale{scale}." if scale else "")
    z = tok.encode_latents(x)
    assert_close(z.transpose(1, 2), io[stored + "latent"], **CLOSE)
    assert_close(tok.quantizer.probabilities(z)[0].transpose(1, 2), io[stored + "logits"], **CLOSE)
    tokens = tok.encode(x)
    bits = unpack_bits(tokens.ids, tok.quantizer.weights, tok.quantizer.groups)
    assert torch.equal(bits.transpose(1, 2).long(), io[stored + "bits"])
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])
    assert_close(tok.quantizer.decode(tokens.ids).transpose(1, 2), io[stored + "quantized_from_ids"], **CLOSE)
    assert_close(tok.decode(tokens), io[stored + "decoded"], **CLOSE)
    out = tok(x)
    assert_close(out.x_hat, io[stored + "forward"], **CLOSE)
    assert_close(out.quantized.loss, io[stored + "code_loss"][0], **CLOSE)


def test_decodes_at_another_size():
    folder = reference_folder("image", "instella-bae")
    tok, io = load_reference(folder), load_io(folder)
    tokens = tok.encode(io["s0.input"])
    assert_close(tok.decode(tokens, size=(96, 64)), io["s0.decoded_96x64"], **CLOSE)


def test_pictures_of_different_sizes_in_one_batch():
    folder = reference_folder("image", "instella-bae")
    tok, io = load_reference(folder), load_io(folder)
    tokens = tok.encode([io["s0.input"][0], io["s1.input"][0], io["s0.input"][1, :, :37, :50]])
    first, second, third = tok.decode(tokens)
    assert_close(first, io["s0.decoded"][0], **CLOSE)
    assert_close(second, io["s1.decoded"][0], **CLOSE)
    assert third.shape == (3, 37, 50)


def test_features_for_a_teacher():
    folder = reference_folder("image", "instella-bae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    config |= {"use_repa": True, "repa_dim": 7, "repa_index": 1}
    shapes = {"0.weight": (48, 48), "0.bias": (48,), "1.weight": (48,), "1.bias": (48,), "3.weight": (7, 48), "3.bias": (7,)}
    state |= {f"decoder.repa_proj.{k}": torch.randn(s) for k, s in shapes.items()}
    tok = convert("instella-bae", config, state)
    out = tok(load_io(folder)["s0.input"])
    assert out.features["grid"].shape == (2, 7, 16)  # before the grid is doubled
    assert_close(out.x_hat, load_io(folder)["s0.forward"], **CLOSE)


def test_strict():
    folder = reference_folder("image", "instella-bae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    with pytest.raises(ValueError, match="use_tanh"):
        convert("instella-bae", {**config, "use_tanh": True}, state)
    with pytest.raises(ValueError, match="doubles its grid"):
        convert("instella-bae", {**config, "upsample_idx": []}, state)  # fails in the original, too
