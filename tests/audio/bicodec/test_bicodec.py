"""BiCodec against its authors' outputs; voice and content in one sequence.

    pytest tests/audio/bicodec/test_bicodec.py
"""

import dataclasses

import numpy as np
import pytest
import torch
from audio_cases import close, noise, stored
from families import TINY
from tokenzoo import build_tokenizer
from tokenzoo.codecs.audio.bicodec.model import BiCodecConfig, _loudness_factors
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.token_fields import TokenError

ATOL = 1e-4


def tiny(**changes):
    torch.manual_seed(0)
    family, config = TINY["bicodec"]
    return build_tokenizer(family, config | changes).eval()


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("bicodec"):
        features, reference = want["feat"].transpose(1, 2), want["ref_wav"]
        close(tok.mel(reference), want["mel"], ATOL)
        z = tok.encoder(features)
        close(z, want["latent"], ATOL)
        content = tok.quantizer.encode(z)
        assert torch.equal(content, want["ids_semantic"].long()[:, None]), name
        voice = tok.voice_quantizer.encode(tok.voice_encoder(want["mel"]))
        assert torch.equal(voice, want["ids_global"].long()), name
        vectors = tok.voice_quantizer.decode(voice)
        vector = tok.voice_proj(vectors.flatten(1))
        close(vector, want["d_vector_from_ids"], ATOL)
        close(tok.quantizer.decode(content), want["quantized_from_ids"], ATOL)
        state = tok.prenet(want["quantized_from_ids"], vector)
        close(state, want["prenet"], ATOL)
        close(tok.postnet(state), want["postnet"], ATOL)
        both = torch.cat([voice, content], dim=-1)
        close(tok.decode(both), want["decoded"], ATOL)
        x = torch.zeros(len(features), 1, 40 * features.shape[-1])
        x[:, 0, : reference.shape[-1]] = reference[:, : x.shape[-1]]
        tokens = tok.encode(x, features=features)
        assert torch.equal(tokens.ids[..., tok.config.voice.count :], content) and tokens.ids.shape == both.shape
        close(tok.semantic(both), want["quantized_from_ids"], ATOL)


def test_loudness_is_the_authors() -> None:
    """Against their steps in numpy, for a quiet, a loud and a silent clip."""

    def theirs(x):
        temp = np.sort(np.abs(x))
        if temp[-1] < 0.1:
            x = x / max(temp[-1], 1e-3) * 0.1
        temp = temp[temp > 0.01]
        if len(temp) <= 10:
            return x
        volume = np.mean(temp[int(0.9 * len(temp)) : int(0.99 * len(temp))])
        x = x * np.clip(0.2 / volume, 0.1, 10)
        return x / max(np.max(np.abs(x)), 1)

    signal = noise(4000)
    x = torch.stack([signal, 0.02 * signal, 3 * signal, 0.001 * signal, 0 * signal])
    factors = _loudness_factors(x)
    for one, factor in zip(x, factors, strict=True):
        np.testing.assert_allclose((one * factor).numpy(), theirs(one.numpy()), atol=1e-5)
        assert _loudness_factors(one[None]) == factor


@torch.no_grad()
def test_voice_and_content_are_apart() -> None:
    tok = tiny()
    count, hop = tok.config.voice.count, tok.spec.hop_samples
    one, two = noise(1, 1, 9 * hop), 0.5 * noise(1, 1, 12 * hop).flip(-1) ** 3
    a, b = tok.encode(one), tok.encode(two)
    assert a.ids.shape[-1] == tok.num_frames(9 * hop) and tok.decode(a).shape == one.shape
    mixed = tok.with_voice(a, b)
    assert torch.equal(mixed.ids[..., :count], b.ids[..., :count]) and torch.equal(mixed.ids[..., count:], a.ids[..., count:])
    with pytest.raises(ValueError, match="2 voices for 1 items"):
        tok.with_voice(a, type(a).cat([a, b]))
    assert torch.equal(tok.encode([one[0], two[0]])[1].ids, b.ids)
    with pytest.raises(TokenError, match="content follows"):
        tok.decode(a.ids[..., :count])
    wrong = a.ids.clone()
    wrong[..., 0] = tok.voice_quantizer.codebook_sizes[0]
    with pytest.raises(TokenError, match="a voice id is"):
        tok.decode(dataclasses.replace(a, ids=wrong))
    with pytest.raises(ValueError, match="pass voice"):
        tok.decode_latents(torch.zeros(1, 8, 4))


def test_loudness_comes_back() -> None:
    tok = tiny()
    x = noise(1, 1, 12 * tok.spec.hop_samples)
    with torch.no_grad():
        loud, quiet = tok.encode(x), tok.encode(0.25 * x)
        assert torch.equal(loud.ids, quiet.ids)
        assert 0.24 < float(tok.decode(quiet).std() / tok.decode(loud).std()) < 0.26  # the floor of the measure does not scale


def test_wrong_settings() -> None:
    for change, message in (
        ({"kernels": (4,)}, "kernels"),
        ({"reference_seconds": 0}, "reference_seconds"),
        ({"mel_window": 2048}, "mel_window"),
    ):
        with pytest.raises(ConfigError, match=message):
            BiCodecConfig(**change)
