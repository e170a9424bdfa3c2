"""Higgs Audio v2's tokenizer, a variant of X-codec, in both layouts against the authors' outputs and against transformers.

    pytest tests/audio/xcodec/test_higgs.py
"""

import pytest
import torch
from audio.xcodec.options_higgs import SWEEPS
from audio_cases import close, shake, stored
from layout_options import merged
from tokenzoo.zoo.convert import convert, converter


@pytest.mark.parametrize(("system", "atol"), [("higgs-audio-v2", 1e-4), ("higgs-audio-v2-hf", 5e-5)])
@torch.no_grad()
def test_stored_cases(system: str, atol: float) -> None:
    for tok, name, want in stored(system):
        x, ids = want["input" if "input" in want else "input_values"], want["ids"].long()
        features = want["semantic_features"].transpose(1, 2)
        close(tok.speech_features(x), features, atol)
        close(tok.semantic_encoder(features), want["semantic_encoded"], atol)
        if "latent" in want:
            close(tok.encode_latents(x), want["latent"], atol)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, ids), name
        assert torch.equal(tok.encode(x, features=features).ids, ids), name
        assert tokens.ids.shape[-1] == tok.num_frames(x.shape[-1])
        for i, bandwidth in enumerate(tok.config.bandwidths_kbps[:-1]):
            num = tok.num_codebooks_for(bandwidth)
            assert num < ids.shape[1] and torch.equal(tok.encode(x, num_codebooks=num).ids, want[f"ids_bw{i}"].long()), name
        close(tok.quantizer.decode(ids), want["quantized_from_ids"], atol)
        close(tok.decode(ids), want["decoded"], atol)
        close(tok.decode(want["ids_bw0"].long()), want["decoded_bw0"], atol)
        assert tok.decode(tokens).shape == x.shape
        out = tok(x)
        assert out.features["semantic"].shape == out.features["semantic_target"].shape


@pytest.mark.parametrize("name", ["as it is", "every third frame", "a wider table"])
@torch.no_grad()
def test_other_lengths_against_transformers(name: str) -> None:
    system = "higgs_audio_v2_tokenizer-hf"
    sweep = SWEEPS[system]
    theirs = merged(sweep.tiny, sweep.options[name])
    peer = sweep.peer(theirs)
    if peer is None:
        pytest.skip("transformers holds the peer")
    shake(peer.module)
    tok = convert(system, theirs, peer.state_dict())
    hop = tok.spec.hop_samples
    for length in (5 * hop, 5 * hop + 1, 6 * hop - 1, 6 * hop - hop // 3):
        x = 0.3 * torch.randn(2, 1, length, generator=torch.Generator().manual_seed(length))
        want, tokens = peer.ids(x), tok.encode(x)
        assert torch.equal(tokens.ids, want) and tokens.ids.unique().numel() > 4, length
        assert tokens.ids.shape[-1] == tok.num_frames(length)
        close(tok.decode(tokens.ids), peer.module.decode(want).audio_values, 5e-5)


def test_published_sizes() -> None:
    """8 codebooks at 25 Hz, 2 kbps, as the model card says."""
    own = converter("higgs_audio_v2_tokenizer-hf").own_config(
        {"acoustic_model_config": {"downsampling_ratios": [8, 5, 4, 2, 3], "upsampling_ratios": [8, 5, 4, 2, 3]},
         "target_bandwidths": [0.5, 1, 1.5, 2]}
    )  # fmt: skip
    assert own.quantizer.num_codebooks == 8 and own.quantizer.codebook_dim == 64 and own.semantic_step == 2
    theirs = {"D": 256, "ratios": [8, 5, 4, 2, 3], "sample_rate": 24000, "codebook_dim": 64, "target_bandwidths": [0.5, 1, 1.5, 2]}
    authors = converter("higgs-audio-v2").own_config(theirs)
    assert authors.quantizer == own.quantizer and authors.bandwidths_kbps == own.bandwidths_kbps
    assert (authors.pad_samples, authors.acoustic_pad_samples, own.acoustic_pad_samples) == (160, 320, 480)
