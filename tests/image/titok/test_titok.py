"""TiTok (both generations), TA-TiTok, One-D-Piece against the authors' outputs. Run: pytest tests/image/titok/test_titok.py"""

import copy
import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

TOLERANCE = {"titok": 2e-5, "titok-legacy": 1e-4, "one-d-piece": 1e-4, "tatitok": 2e-5}


def parts(system):
    folder = reference_folder("image", system)
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("system", TOLERANCE)
def test_reference(system):
    folder = reference_folder("image", system)
    tok, io = load_reference(folder), load_io(folder)
    x, close = io["input"], {"atol": TOLERANCE[system], "rtol": 1e-4}
    assert_close(tok.encode_latents(x), io["latent"].squeeze(2), **close)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, io["ids"])
    assert torch.equal(tok.encode(x[1:]).ids, io["ids"][1:])
    z_q = tok.quantizer.decode(tokens.ids)
    assert_close(z_q, io.get("quantized_from_ids", io["quantized"]).squeeze(2), **close)
    assert_close(tok.quantizer(tok.encode_latents(x)).z_q, io["quantized"].squeeze(2), **close)
    text = io.get("text_guidance")
    assert_close(tok.decode(tokens) if text is None else tok.decode(tokens, text=text), io["decoded"], **close)
    assert_close((tok(x) if text is None else tok(x, text=text)).x_hat, io["forward"], **close)


def test_text_guides_the_decoder():
    folder = reference_folder("image", "tatitok")
    tok, io = load_reference(folder), load_io(folder)
    tokens, text = tok.encode(io["input"]), io["text_guidance"]
    assert_close(tok.decode(tokens), io["decoded_zero_text"], atol=2e-5, rtol=1e-4)  # no text: states of zero
    assert_close(tok.decode(tokens[1], text=text[1:]), io["decoded"][1:], atol=2e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="describes 1"):
        tok.decode(tokens, text=text[:1])
    plain = load_reference(reference_folder("image", "titok"))
    with pytest.raises(ValueError, match="takes no 'text'"):
        plain.decode(plain.encode(torch.rand(1, 3, 32, 32)), text=["a cat"])


@pytest.mark.parametrize("positions", [1, 5, 13, 31])
def test_any_prefix_decodes(positions):
    folder = reference_folder("image", "one-d-piece")
    tok, io = load_reference(folder), load_io(folder)
    assert tok.spec.prefix == ("positions",)
    tokens = tok.encode(io["input"]).first(positions=positions)
    assert_close(tok.decode(tokens), io[f"decoded_first{positions}"], atol=1e-4, rtol=1e-4)


def test_only_one_d_piece_decodes_prefixes():
    folder = reference_folder("image", "titok")
    tok = load_reference(folder)
    with pytest.raises(ValueError, match="decodes 20"):
        tok.decode(tok.encode(load_io(folder)["input"]).first(positions=7))


def test_legacy_logits_over_the_teacher():
    folder = reference_folder("image", "titok-legacy")
    tok, io = load_reference(folder), load_io(folder)
    assert_close(tok(io["input"]).features["logits"], io["decoder_output"], atol=1e-4, rtol=1e-4)


def test_first_training_stage_has_no_teacher():
    """`finetune_decoder` false: the checkpoint ends in logits over the teacher's codes, which is what decoding gives."""
    config, state = parts("titok-legacy")
    config["model"]["vq_model"]["finetune_decoder"] = False
    state = {k: v for k, v in state.items() if not k.startswith(("pixel_decoder", "pixel_quantize"))}
    io = load_io(reference_folder("image", "titok-legacy"))
    tok = convert("titok-legacy", config, state)
    assert_close(tok.decode(tok.encode(io["input"])), io["decoder_output"], atol=1e-4, rtol=1e-4)


def test_tail_drop_only_in_training():
    tok = load_reference(reference_folder("image", "one-d-piece"))
    x = load_io(reference_folder("image", "one-d-piece"))["input"]
    whole = tok(x).x_hat
    tok.train()
    drops = [tok(x).x_hat for _ in range(4)]
    assert any(not torch.allclose(d, whole, atol=1e-3) for d in drops)


def test_strict_both_ways():
    config, state = parts("titok")

    def changed(**values):
        new = copy.deepcopy(config)
        new["model"]["vq_model"] |= values
        return new

    with pytest.raises(ValueError, match="rope_base"):
        convert("titok", changed(rope_base=1), state)
    with pytest.raises(ValueError, match="'vae'"):
        convert("titok", changed(quantize_mode="vae"), state)
    with pytest.raises(ValueError, match="finetune_decoder"):
        convert("titok", changed(finetune_decoder=True), state)
    with pytest.raises(CheckpointError, match="encoder.extra"):
        convert("titok", config, {**state, "encoder.extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="missing"):
        convert("titok", config, {k: v for k, v in state.items() if k != "latent_tokens"})
