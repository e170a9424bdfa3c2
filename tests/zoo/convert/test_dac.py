"""DAC and SNAC against the authors' outputs, the class of transformers and the package `snac`.

    pytest tests/zoo/convert/test_dac.py
"""

import pytest
import torch
from audio_cases import as_folder, close, noise, shake, stored
from tokenzoo.zoo.convert import convert

pytestmark = pytest.mark.usefixtures("_no_grad")


@pytest.fixture
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("system", ["dac", "dac-hf"])
def test_reference(system: str) -> None:
    for tok, name, want in stored(system):
        x, shape = want["input"], want["decoded"].shape
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"]), name
        assert torch.equal(tok.encode(x, num_codebooks=2).ids, want["ids_n2"])
        close(tok.encode_latents(x), want["latent"], 5e-5)
        z_q = tok.quantizer.decode(tokens.ids)
        close(z_q, want["quantized_from_ids"], 5e-5)
        close(z_q, want["quantized"], 5e-5)
        close(tok.decode_batch(tokens.ids, None).view(shape), want["decoded"], 5e-5)
        for k in (1, 2, 3):
            if f"decoded_q{k}" in want:
                got = tok.decode_batch(tokens.first(codebooks=k).ids, None)
                close(got.view(shape), want[f"decoded_q{k}"], 5e-5)
        audio = tok.decode(tokens)
        assert audio.shape == x.shape  # the authors' is shorter: odd strides
        end = want["forward"].shape[-1]
        close(audio[..., :end].view(want["forward"].shape), want["forward"], 5e-5)
        assert not audio[..., end:].any()
        close(tok(x).x_hat, audio, 1e-5)


def test_long_audio_in_pieces() -> None:
    for system in ("dac", "snac"):
        tok = next(stored(system))[0]
        x = noise(1, 1, tok.spec.hop_samples * 400 + 13)
        whole = tok.encode(x)
        audio = tok.decode(whole)
        tok.chunk_frames = 16
        assert torch.equal(tok.encode(x).ids, whole.ids)
        close(tok.decode(whole), audio, 1e-5)


def test_snac_reference() -> None:
    for tok, name, want in stored("snac"):
        x, strides = want["input"], tok.spec.strides
        tokens = tok.encode(x)
        for k, stride in enumerate(strides):
            assert torch.equal(tokens.ids[:, k, ::stride], want[f"ids_level{k}"]), name
        close(tok.encode_latents(x), want["latent"], 1e-4)
        close(tok.quantizer.decode(tokens.ids), want["quantized_from_ids"], 1e-4)
        close(tok.decode_batch(tokens.ids, None), want["decoded"], 1e-4)
        close(tok.decode(tokens), want["forward"], 1e-4)
        close(tok(x).x_hat, want["forward"], 1e-4)
        drawn = [want[f"noise_block{i}"] for i in range(3)]
        close(tok.decode(tokens, noise=drawn), want["decoded_with_noise"][..., : x.shape[-1]], 1e-4)


def test_snac_noise_follows_the_seed() -> None:
    for tok, name, want in stored("snac"):
        if name != "mult_b2":
            continue
        tokens = tok.encode(want["input"])
        audio = tok.decode(tokens, seed=3)
        assert torch.equal(audio, tok.decode(tokens, seed=3))
        assert not torch.equal(audio, tok.decode(tokens, seed=4))
        close(tok.decode(tokens[1], seed=3)[0], audio[1], 1e-5)  # not of the batch
        tok.chunk_frames = 8  # nor of the pieces
        close(tok.decode(tokens, seed=3), audio, 1e-5)


def test_other_configuration_against_transformers(tmp_path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers (extra `peers`) is not installed")
    config = transformers.DacConfig(
        encoder_hidden_size=6, downsampling_ratios=[3, 2], decoder_hidden_size=16, n_codebooks=3, codebook_size=32,
        codebook_dim=5, quantizer_dropout=0.5,
    )  # fmt: skip
    peer = shake(transformers.DacModel(config))
    tok = as_folder(tmp_path, "dac-hf", config.to_diff_dict(), peer.state_dict())
    for samples in (60, 61, 65):
        x = noise(2, 1, samples)
        out, tokens = peer.encode(x), tok.encode(x)
        assert torch.equal(tokens.ids, out.audio_codes)
        got = tok.decode_batch(tokens.ids, None)[:, 0]
        close(got, peer.decode(audio_codes=out.audio_codes).audio_values, 2e-5)
        assert tok.decode(tokens).shape == x.shape
    padded = convert("dac-hf", config.to_diff_dict() | {"pad_to_frames": True}, peer.state_dict())
    x = noise(1, 1, 61)
    assert torch.equal(padded.encode(x).ids, peer.encode(torch.nn.functional.pad(x, (0, 5))).audio_codes)


SNACS = [
    dict(encoder_dim=4, decoder_dim=16, attn_window_size=None, vq_strides=[4, 2, 1], depthwise=False, noise=False),
    dict(encoder_dim=32, decoder_dim=128, attn_window_size=6, vq_strides=[2, 1], depthwise=True, noise=False),
]


@pytest.mark.parametrize("config", SNACS)
def test_other_configurations_against_snac(tmp_path, config: dict) -> None:
    snac = pytest.importorskip("snac", reason="the package snac (extra `peers`) is not installed")
    config = {"sampling_rate": 8000, "encoder_rates": [3, 2], "decoder_rates": [2, 3], **config}
    config |= {"codebook_size": 32, "codebook_dim": 4}
    peer = shake(snac.SNAC(**config))
    tok = as_folder(tmp_path, "snac", config, peer.state_dict())
    for samples in (1, 40, 147):
        x = noise(2, 1, samples)
        codes, tokens = peer.encode(x), tok.encode(x)
        for k, stride in enumerate(tok.spec.strides):
            assert torch.equal(tokens.ids[:, k, ::stride], codes[k])
        close(tok.decode_batch(tokens.ids, None), peer.decode(codes), 2e-5)
        assert tok.decode(tokens).shape == x.shape


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="codebook_dim"):
        convert("dac", {"codebook_dim": [8, 4]}, {})
    with pytest.raises(ValueError, match="latent_dim"):
        convert("snac", {"latent_dim": 12}, {})
    with pytest.raises(ValueError, match=r"encoder_ratez.*encoder_rates"):
        convert("snac", {"encoder_ratez": [2]}, {})
