"""SNAC against the authors' outputs and the package `snac`. Run: pytest tests/audio/snac/test_snac.py"""

import pytest
import torch
from audio_cases import as_folder, close, noise, shake, stored
from authors_files import write_as
from reference import reference_folder
from tokenzoo.zoo.convert import convert, converter

pytestmark = pytest.mark.usefixtures("_no_grad")


@pytest.fixture
def _no_grad():
    with torch.no_grad():
        yield


def test_long_audio_in_pieces() -> None:
    tok = next(stored("snac"))[0]
    x = noise(1, 1, tok.spec.hop_samples * 400 + 13)
    whole = tok.encode(x)
    audio = tok.decode(whole)
    tok.piece_positions = 16
    assert torch.equal(tok.encode(x).ids, whole.ids)
    close(tok.decode(whole), audio, 1e-5)


def test_names_are_the_authors() -> None:
    """What is written has every name and shape of the file that was read, and no other."""
    from safetensors.torch import load_file

    folder = reference_folder("audio", "snac")
    theirs = load_file(next(folder.glob("*s.safetensors")))
    tok = next(stored("snac"))[0]
    ours = converter("snac").write(tok.state_dict(), tok.config)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    for key in theirs:
        if "weight" not in key or "_g" in key:
            torch.testing.assert_close(ours[key].float(), theirs[key].float(), atol=1e-6, rtol=1e-5, msg=key)


def test_reference() -> None:
    for tok, name, want in stored("snac"):
        x, strides = want["input"], tok.spec.strides
        tokens = tok.encode(x)
        for k, stride in enumerate(strides):
            assert torch.equal(tokens.ids[:, k, ::stride], want[f"ids_level{k}"]), name
        close(tok.encode_latents(x), want["latent"], 1e-4)
        close(tok.quantizer.decode(tokens.ids), want["quantized_from_ids"], 1e-4)
        close(tok.decode(tokens.ids), want["decoded"], 1e-4)
        close(tok.decode(tokens), want["forward"], 1e-4)
        close(tok(x).x_hat, want["forward"], 1e-4)
        drawn = [want[f"noise_block{i}"] for i in range(3)]
        close(tok.decode(tokens, noise=drawn), want["decoded_with_noise"][..., : x.shape[-1]], 1e-4)


def test_noise_follows_the_seed() -> None:
    tok, want = next((tok, want) for tok, name, want in stored("snac") if name == "mult_b2")
    tokens = tok.encode(want["input"])
    audio = tok.decode(tokens, seed=3)
    assert torch.equal(audio, tok.decode(tokens, seed=3))
    assert not torch.equal(audio, tok.decode(tokens, seed=4))
    close(tok.decode(tokens[1], seed=3)[0], audio[1], 1e-5)  # not of the batch
    tok.piece_positions = 8  # nor of the pieces
    close(tok.decode(tokens, seed=3), audio, 1e-5)


def test_the_package_reads_what_we_write(tmp_path) -> None:
    snac = pytest.importorskip("snac", reason="the package snac (extra `peers`) is not installed")
    tok = next(stored("snac"))[0]
    peer = snac.SNAC.from_pretrained(str(write_as(tok, "snac", tmp_path / "snac"))).eval()
    x = noise(1, 1, 4000)
    tokens = tok.encode(x)
    for k, (codes, stride) in enumerate(zip(peer.encode(x), tok.spec.strides, strict=True)):
        assert torch.equal(tokens.ids[:, k, ::stride], codes)


CONFIGURATIONS = [
    dict(encoder_dim=4, decoder_dim=16, attn_window_size=None, vq_strides=[4, 2, 1], depthwise=False, noise=False),
    dict(encoder_dim=32, decoder_dim=128, attn_window_size=6, vq_strides=[2, 1], depthwise=True, noise=False),
]


@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_other_configurations(tmp_path, config: dict) -> None:
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
        close(tok.decode(tokens.ids), peer.decode(codes), 2e-5)
        assert tok.decode(tokens).shape == x.shape


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="latent_dim"):
        convert("snac", {"latent_dim": 12}, {})
    with pytest.raises(ValueError, match=r"encoder_ratez.*encoder_rates"):
        convert("snac", {"encoder_ratez": [2]}, {})
