"""SQ-Codec against the authors' outputs.

    pytest tests/audio/sq_codec/test_sq_codec.py
"""

import pytest
import torch
from audio_cases import close, noise, stored
from reference import reference_folder
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert


@torch.no_grad()
def test_reference() -> None:
    for tok, name, want in stored("sq-codec"):
        x = want["input"]
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"]), name
        close(tok.encode_latents(x), want["latent"], 2e-5)
        close(tok.quantizer.decode(tokens.ids), want["quantized"], 2e-5)
        close(tok.decode(tokens.ids), want["decoded"], 2e-5)
        close(tok.decode(tokens.ids), want["decoded_from_ids"], 2e-5)
        close(tok.decode(tokens), want["forward"][..., : x.shape[-1]], 2e-5)
        close(tok(x).x_hat, tok.decode(tokens), 1e-5)


@torch.no_grad()
def test_every_length_comes_back() -> None:
    """Also clips that are too short for a frame, and those whose rest averaging drops."""
    tok = next(stored("sq-codec"))[0]
    for samples in (1, 3, 15, 16, 17, 31, 33):
        x = noise(1, 1, samples)
        tokens = tok.encode(x)
        assert tokens.ids.shape[-1] == tok.num_frames(samples)
        assert tok.decode(tokens).shape == x.shape


@torch.no_grad()
def test_long_audio_in_pieces() -> None:
    tok = next(stored("sq-codec"))[0]
    x = noise(1, 1, 16 * 500 + 13)
    whole = tok.encode(x)
    audio = tok.decode(whole)
    tok.piece_positions = 16
    assert torch.equal(tok.encode(x).ids, whole.ids)
    close(tok.decode(whole), audio, 1e-5)


def test_shared_activation_must_be_shared() -> None:
    import json

    from safetensors.torch import load_file

    folder = reference_folder("audio", "sq-codec")
    state = load_file(folder / "weights.safetensors")
    state["encoder.2.down_conv.activation.weight"] = state["encoder.2.down_conv.activation.weight"] + 1
    with pytest.raises(CheckpointError, match="PReLU"):
        convert("sq-codec", json.loads((folder / "config.json").read_text()), state)
