"""MaskGCT's semantic codec against its authors' outputs, and from waveforms.

    pytest tests/audio/repcodec/test_repcodec.py
"""

import pytest
import torch
from audio.repcodec.options import SWEEPS
from audio_cases import close, noise, stored
from families import TINY
from tokenzoo import build_tokenizer
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.convert import converter


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("maskgct-semantic"):
        features = want["feat"].transpose(1, 2)
        x = torch.zeros(len(features), 1, 320 * features.shape[-1])
        close(tok.encode_latents(x, features), want["latent"], 2e-5)
        tokens = tok.encode(x, features=features)
        assert torch.equal(tokens.ids[:, 0], want["ids"].long()), name
        close(tok.quantizer.decode(tokens.ids), want["quantized_from_ids"], 2e-5)
        close(tok.semantic(tokens), want["features_decoded"].transpose(1, 2), 2e-5)
        with pytest.raises(NotDecodable, match="only encodes"):
            tok.decode(tokens)


@torch.no_grad()
def test_waveforms_are_standardised() -> None:
    torch.manual_seed(0)
    tok = build_tokenizer(*TINY["repcodec"]).eval()
    for length in (1, 559, 560, 880, 4000):
        assert tok.encode(noise(1, 1, length)).ids.shape[-1] == tok.num_frames(length)
    x = noise(1, 1, 4000)
    plain = tok.speech_features(x)
    tok.feature_mean.fill_(0.5)
    tok.feature_deviation.fill_(2.0)
    close(tok.speech_features(x), (plain - 0.5) / 2, 1e-6)


def test_statistics_come_from_their_file() -> None:
    layout, tiny = converter("maskgct-semantic"), SWEEPS["maskgct-semantic"].tiny
    own = layout.own_config(tiny)
    tok = build_tokenizer("repcodec", own)
    state = layout.write(tok.state_dict(), own)
    assert "mean" not in state and "stats.mean" not in state, "no file of statistics was read"
    read = layout.read(state | {"mean": torch.full((own.features,), 3.0), "var": torch.full((own.features,), 4.0)}, own)
    assert float(read["feature_mean"][0]) == 3 and float(read["feature_deviation"][0]) == 2
