"""MaskGCT's acoustic codec, DAC with a decoder at frame rate, against its authors' outputs.

    pytest tests/audio/dac/test_maskgct.py
"""

import dataclasses

import torch
from audio_cases import close, noise, stored
from families import TINY
from tokenzoo import build_tokenizer

ATOL = 5e-5


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("maskgct-acoustic"):
        x, ids = want["input"], want["ids"].long().transpose(0, 1)  # the authors put codebooks first
        close(tok.encode_latents(x), want["latent"], ATOL)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, ids) and ids.shape[-1] == tok.num_frames(x.shape[-1]), name
        assert torch.equal(tok.encode(x, num_codebooks=2).ids, want["ids_n2"].long().transpose(0, 1)), name
        close(tok.quantizer.decode(ids), want["quantized_from_ids"], ATOL)
        close(tok.quantizer.decode(ids[:, :2]), want["quantized_from_ids_n2"], ATOL)
        close(tok.decode(ids), want["decoded"], ATOL)
        close(tok.decode(ids[:, :2]), want["decoded_n2"], ATOL)
        assert tok.decode(tokens).shape == x.shape


@torch.no_grad()
def test_long_clips_in_pieces() -> None:
    """Pieces with the decoder's context give the sound of the whole."""
    torch.manual_seed(0)
    tok = build_tokenizer(*TINY["dac-frames"]).eval()
    tokens = tok.encode(noise(1, 1, 10 * 120))
    whole = tok.decode(tokens)
    tok.piece_positions = 20
    assert torch.equal(tok.encode(noise(1, 1, 10 * 120)).ids, tokens.ids)
    close(tok.decode(dataclasses.replace(tokens)), whole, 1e-5)
