"""MiMo-Audio-Tokenizer against the stored outputs of its authors' class. Run: pytest tests/audio/mimo_audio"""

import pytest
import tokenzoo
import torch
from audio_cases import close, noise, stored
from contract_cases import build
from tokenzoo.codecs.config import ConfigError

from .tiny import SMALL_MIMO


def test_stored_outputs():
    for tok, name, case in stored("mimo-audio"):
        clips, at = [case[k] for k in ("wav0", "wav1") if k in case], 0
        tokens = tok.encode([(c, 24000) for c in clips])
        for i, clip in enumerate(clips):
            length = tok.num_frames(len(clip))
            ids, latent = case["ids"][:, at : at + length], case["latent_packed"][at : at + length]
            at += length
            mel = tok.mel(tok.mel.reflected(clip[None]), 0, tok.mel.frames(len(clip)))
            close(mel[0].t(), case[f"mel{i}"], 1e-5)
            with torch.no_grad():
                close(tok.decode_latents(tok.vectors_of(ids[None]))[0], case[f"decoded{i}"][0], 1e-4)
                alone = len(clips) == 1 or mel.shape[-1] == max(len(c) for c in clips) // 40 + 1
                z = tok.encoder(mel, beside_longer=not alone)
            close(z[0].t(), latent, 1e-4)
            assert torch.equal(tok.quantizer.encode(z)[0], ids)
            assert torch.equal(tokens[i].ids[0], ids) or not alone
        assert at == case["ids"].shape[1]
        if "streamed_all" in case:
            check_stream(tok, case)
        assert name in ("mult_b1", "odd_b1", "ragged_b2")


def check_stream(tok, case):
    """Chunks of five ids; where nothing comes yet, the stored outputs have no entry."""
    stream, parts = tok.decode_stream(left=8, right=3), case["ids"].split(5, dim=-1)
    for _ in range(2):  # the second time after the end of the first stream
        got = [y for i, part in enumerate(parts) if (y := stream.push(part, last=i == len(parts) - 1)) is not None]
        close(torch.cat(got, dim=-1), case["streamed_all"], 1e-4)
        for i, y in enumerate(got):
            if f"streamed{i}" in case:
                close(y, case[f"streamed{i}"], 1e-4)


@pytest.mark.parametrize("samples", [1, 20, 21, 39, 40, 590, 599, 600, 601, 1000, 1270, 1280])
def test_pieces_go_through_the_network_alone(samples):
    """Pieces of 60 mel frames, 15 ids; the last one as beside longer ones in a batch."""
    tok = build("mimo-audio")
    x = noise(1, 1, samples)
    frames = max(samples, 21) // 10 + 1
    mel = tok.mel(tok.mel.reflected(x[:, 0]), 0, frames)
    with torch.no_grad():
        pieces = [tok.encoder(p, beside_longer=p.shape[-1] < 60 < frames) for p in mel.split(60, dim=-1)]
    ids = tok.encode(x).ids
    assert torch.equal(ids, tok.quantizer.encode(torch.cat(pieces, dim=-1))) and ids.shape[2] == tok.num_frames(samples) == -(
        -frames // 4
    )
    z = tok.vectors_of(ids)
    with torch.no_grad():
        y = torch.cat([tok.decoder(p) for p in z.split(15, dim=-1)], dim=-1)
    assert torch.allclose(tok.decode(tok.encode(x)), y[..., :samples], atol=1e-6)


def test_frames_of_a_piece_are_those_of_the_whole():
    tok = build("mimo-audio")
    whole = tok.mel.reflected(noise(2, 777))
    frames = tok.mel.frames(777)
    all_at_once = tok.mel(whole, 0, frames)
    assert all_at_once.shape == (2, 6, 78) and torch.equal(all_at_once[..., 31:52], tok.mel(whole, 31, 52))


@pytest.mark.parametrize(("left", "right"), [(3, 3), (2, -1), (0, 0)])
def test_streams_of_which_nothing_would_come(left, right):
    with pytest.raises(ValueError, match="left"):
        build("mimo-audio").decode_stream(left=left, right=right)


def test_a_stream_that_keeps_all_ends_like_the_whole():
    """Without a limit the last part is decoded with all before it."""
    tok = build("mimo-audio")
    ids = tok.encode(noise(400)).ids[0]
    stream = tok.decode_stream(left=100, right=4)
    parts = [stream.push(ids[:, :5]), stream.push(ids[:, 5:], last=True)]
    whole = tok.decode(tok.tokens(ids[None]))[0]
    assert torch.cat(parts, dim=-1).shape == whole.shape and torch.equal(parts[1], whole[:, 40:])
    with pytest.raises(ValueError, match="vocabular"):
        stream.push(torch.full((3, 2), 16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"piece_frames": 62}, "multiple of 4"),
        ({"skip": 3}, "2 layers"),
        ({"decoder": SMALL_MIMO["encoder"] | {"width": 16}}, "must be equal"),
        ({"decoder_kernel": 1}, "frames would be missing"),
        ({"high_hz": 13000.0}, "0..12000"),
        ({"window_samples": 41}, "more than the 40"),
        ({"encoder": SMALL_MIMO["encoder"] | {"heads": 8}}, "even number"),
        ({"encoder": SMALL_MIMO["encoder"] | {"reach": [-2, 0]}}, "reach"),
        ({"pool": 0}, "at least 1"),
    ],
)
def test_settings_that_fit_no_network(change, message):
    with pytest.raises(ConfigError, match=message):
        tokenzoo.build_tokenizer("mimo_audio", SMALL_MIMO | change)
