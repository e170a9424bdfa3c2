"""DualCodec against the authors' outputs.

    pytest tests/audio/dualcodec/test_dualcodec.py
"""

import dataclasses

import pytest
import torch
from audio_cases import close, stored
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.convert import converter

ATOL = 5e-5


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("dualcodec"):
        x, features = want["input"], want["semantic_repr"]
        close(tok.semantic_path.encode(features), want["semantic_encoded"], ATOL)
        close(tok.quantizer.first.decode(want["ids_semantic"].long()), want["semantic_quantized"], ATOL)
        close(tok.semantic_part(want["semantic_quantized"]), want["semantic_decoded"], ATOL)
        z = tok.encode_latents(x, features)
        width = tok.config.semantic_width
        length = want["semantic_decoded"].shape[-1]
        close(z[:, width:], want["latent"][..., :length] - want["semantic_decoded"], ATOL)
        tokens = tok.encode(x, features=features)
        ids = torch.cat([want["ids_semantic"], want["ids_acoustic"]], dim=1).long()
        assert torch.equal(tokens.ids, ids), name
        close(tok.quantizer.decode(ids)[:, width:], want["acoustic_quantized"], ATOL)
        close(tok.decode(ids), want["decoded"], ATOL)
        assert tok.decode(tokens).shape == x.shape
        shown = min(x.shape[-1], want["decoded"].shape[-1])
        close(tok.decode(tokens)[..., :shown], want["decoded"][..., :shown], ATOL)
        parts = {"decoded_semantic_only": 1, "decoded_q1": 2, "decoded_q2": 3}
        for key, k in parts.items():
            close(tok.decode(ids[:, :k]), want[key], ATOL)
            close(tok.decode(tokens.first(codebooks=k))[..., :shown], want[key][..., :shown], ATOL)
        fewer = tok.encode(x, features=features, num_codebooks=3)
        assert torch.equal(fewer.ids[:, 1:], want["ids_acoustic_n2"].long()), name


@torch.no_grad()
def test_the_quantized_latent_can_be_subtracted_itself() -> None:
    """`decode_semantic_for_codec = False`: another order of the same parts."""
    from tokenzoo import build_tokenizer

    tok, _, want = next(stored("dualcodec"))
    c = dataclasses.replace(tok.config, subtract_decoded=False, semantic_width=tok.config.dim)
    other = build_tokenizer("dualcodec", c).eval()
    x, features = want["input"], want["semantic_repr"]
    tokens = other.encode(x, features=features)
    semantic = other.quantizer.first.decode(tokens.ids[:, :1])
    left = other.encoder(x)[..., : semantic.shape[-1]] - semantic
    assert torch.equal(other.quantizer.second.encode(left), tokens.ids[:, 1:])
    close(other.decode(tokens.ids[:, :1]), other.decoder(semantic), ATOL)


def test_own_features_follow_the_published_order() -> None:
    """Resample to 16 kHz, w2v-BERT on stacked filter banks, statistics, mean of frames."""
    transformers = pytest.importorskip("transformers", reason="transformers holds the speech model")
    from families import TINY
    from tokenzoo import build_tokenizer

    family, config = TINY["dualcodec"]
    tok = build_tokenizer(family, config | {"strides": [10, 6, 16], "latent_dim": 8, "semantic_pool": 2}).eval()
    tok.feature_mean.normal_()
    tok.feature_deviation.uniform_(0.5, 2)
    x = 0.1 * torch.randn(1, 1, 24001)
    extractor = transformers.SeamlessM4TFeatureExtractor()
    import torchaudio

    heard = torchaudio.functional.resample(x[:, 0], 24000, 16000)
    banks = extractor(heard[0].numpy(), sampling_rate=16000, return_tensors="pt")["input_features"]
    hidden = tok.semantic_model.model(banks).last_hidden_state
    want = torch.nn.functional.avg_pool1d(((hidden - tok.feature_mean) / tok.feature_deviation).transpose(1, 2), 2, 2)
    close(tok.speech_features(x), want.detach(), 1e-3)
    tokens = tok.encode(x)
    assert tokens.ids.shape[-1] == tok.num_frames(24001) == want.shape[-1]
    assert tok.decode(tokens).shape == x.shape


def test_statistics_lie_beside_the_weights() -> None:
    """With the prefix that cards give the file or without one; weights alone are for features that are normalised already."""
    tok, _, _ = next(stored("dualcodec"))
    layout, width = converter("dualcodec"), tok.config.semantic_in
    weights = layout.write(tok.state_dict(), tok.config)
    assert not [k for k in weights if k.endswith(("mean", "var"))]  # the stored case has none
    mean, variance = torch.randn(width), torch.rand(width) + 0.5
    for prefix in ("stats.", ""):
        own = layout.read(weights | {prefix + "mean": mean, prefix + "var": variance}, tok.config)
        assert torch.equal(own["feature_mean"], mean) and torch.equal(own["feature_deviation"], variance.sqrt())
        written = layout.write(tok.state_dict() | own, tok.config)
        torch.testing.assert_close(written["stats.var"], variance)


def test_wrong_configurations() -> None:
    make = converter("dualcodec").config
    published = {"encoder_rates": [4, 5, 6, 8], "decoder_rates": [8, 6, 5, 4], "is_causal": True}
    assert make(published)["semantic_pool"] == 2
    with pytest.raises(ValueError, match="n_codebook"):
        make(published | {"n_codebook": 3})
    tok, _, want = next(stored("dualcodec"))
    with pytest.raises(ValueError, match="do not belong together"):
        tok.encode(want["input"], features=want["semantic_repr"][..., :5])
    with pytest.raises(ValueError, match="features="):
        tok.encode(want["input"])
    with pytest.raises(ValueError, match="must be equal"):
        dataclasses.replace(tok.config, latent_dim=32)
    tokens = Tokens(ids=want["ids_semantic"].long(), vocab_sizes=tok.spec.vocab_sizes[:1])
    assert tok.decode(tokens).shape[-1] > 0
