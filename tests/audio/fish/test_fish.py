"""Fish Audio's codec against its authors' outputs.

    pytest tests/audio/fish/test_fish.py
"""

import pytest
import torch
from audio_cases import close, stored
from tokenzoo.codecs.audio.fish.model import FishConfig
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.token_fields import TokenError

ATOL = 2e-4


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("fish-s1"):
        x, ids = want["input"], want["ids"].long()
        filled = tok.fill(x)
        z = tok.encoder.convolved(filled)
        close(z, want["latent"], ATOL)
        close(tok.encoder.down(z), want["downsampled"], ATOL)
        close(tok.encode_latents(x), want["pre"], ATOL)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, ids), name
        assert torch.equal(tok.encode(x, num_codebooks=3).ids, want["ids_n2"].long()), "two beside the semantic one"
        close(tok.decoder.stretched(tok.quantizer.decode(ids)), want["quantized_from_ids"], ATOL)
        close(tok.decode(ids), want["decoded"], ATOL)
        close(tok.decode(ids[:, :3]), want["decoded_n2"], ATOL)
        close(tok.decode(ids[..., : ids.shape[-1] // 2]), want["decoded_prefix"], ATOL)
        assert tok.decode(tokens).shape == x.shape
        large = ids.clone()
        large[:, 0, 0], large[:, 1, 1] = 1000000, 1000000
        with pytest.raises(TokenError, match="outside"):
            tok.decode(large)
        for k, at in ((0, 0), (1, 1)):  # what the authors' clamp makes of them
            large[:, k, at] = tok.spec.vocab_sizes[k] - 1
        close(tok.decode(large), want["decoded_clamped"], ATOL)


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="one, or null, for each"):
        FishConfig(encoder_transformers=(None,))
    with pytest.raises(ConfigError, match="as its level"):
        FishConfig(encoder_width=32)
