"""FocalCodec, looking both ways and causal, against the authors' outputs.

    pytest tests/audio/focalcodec/test_focalcodec.py
"""

import dataclasses

import pytest
import torch
from audio.focalcodec.options import first_version
from reference import load_io, reference_folder
from tokenzoo.zoo.convert import converter, load_reference


def close(got: torch.Tensor, want: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=1e-4)


def load(system: str):
    folder = reference_folder("audio", system)
    cases: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in load_io(folder).items():
        name, what = key.split(".")
        cases.setdefault(name, {})[what] = value
    return load_reference(folder), cases


@pytest.mark.parametrize(("system", "atol"), [("focalcodec", 5e-5), ("focalcodec-causal", 2e-4)])
@torch.no_grad()
def test_reference(system: str, atol: float) -> None:
    tok, cases = load(system)
    for name, want in cases.items():
        x = want["input"][:, None]
        close(tok.encoder(x).transpose(1, 2), want["features"], atol)
        close(tok.encode_latents(x).transpose(1, 2), want["latent"], atol)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids[:, 0], want["ids"]), name
        assert tok.num_frames(x.shape[-1]) == want["ids"].shape[1]
        z_q = tok.quantizer.decode(tokens.ids)
        close(z_q.transpose(1, 2), want["codes"], atol)
        close(tok.decompressor(z_q).transpose(1, 2), want["dequantized_features"], atol)
        close(tok.decode(tokens.ids)[:, 0], want["decoded"], atol)
        close(tok.decode(tokens)[:, 0], want["forward"], atol)


@torch.no_grad()
def test_streams_as_offline() -> None:
    tok, cases = load("focalcodec-causal")
    assert tok.spec.output_rate_hz == 24000
    assert tok.spec.latency_samples == 4 * 24 - 1
    for want in cases.values():
        x = want["input"][:, None]
        for size in (96, 55, 500):
            stream = tok.stream()
            pieces = [t for part in x.split(size, dim=-1) if (t := stream.push(part)) is not None]
            pieces += [t] if (t := stream.flush()) is not None else []
            ids = torch.cat([t.ids for t in pieces], -1)
            assert torch.equal(ids[:, 0], want.get("ids_stream", want["ids"]))
            audio = [stream.decode(t, last=i == len(pieces) - 1) for i, t in enumerate(pieces)]
            close(torch.cat(audio, -1)[:, 0], want.get("decoded_stream", want["decoded"]), 2e-4)


@torch.no_grad()
def test_tokens_of_any_number_decode_in_a_stream() -> None:
    tok, cases = load("focalcodec-causal")
    tokens, stream = tok.encode(cases["odd_b1"]["input"][:, None]), tok.stream()
    parts = [dataclasses.replace(tokens, ids=p, lengths=None, grid=()) for p in tokens.ids.split(3, dim=-1)]
    audio = torch.cat([stream.decode(p, last=i == len(parts) - 1) for i, p in enumerate(parts)], -1)
    close(audio, tok.decode(tokens.ids), 1e-5)


@torch.no_grad()
def test_long_causal_audio_runs_in_pieces() -> None:
    tok, _ = load("focalcodec-causal")
    x = torch.randn(1, 1, 24 * 50 + 7, generator=torch.Generator().manual_seed(0)) * 0.3
    whole = tok.encode(x)
    audio = tok.decode(whole)
    tok.piece_positions = 9  # rounded down to whole pieces of four frames
    assert tok.encode(x).equal(whole)
    close(tok.decode(whole), audio, 1e-5)


def test_wrong_configurations() -> None:
    make = converter("focalcodec").config
    own = make({"decoder_name": "Vocos", "decompressor_config": {"causal": True}})
    assert own["refine_frames"] == 4
    assert own["decoder"]["window_samples"] == 1024
    with pytest.raises(ValueError, match="power of two"):
        make({"quantizer_config": {"codebook_size": 1000}})
    with pytest.raises(ValueError, match="mirror"):
        make({"compressor_config": {"downscale_factors": [2, 1, 1]}})


def test_files_of_the_first_version_hold_the_same_network() -> None:
    """The published 50, 25 and 12.5 Hz files: other names, queries, keys and values apart, a norm and a mask that nothing reads."""
    tok, _ = load("focalcodec")
    layout = converter("focalcodec")
    today = layout.write(tok.state_dict(), tok.config)
    published = first_version(dict(today))
    assert not any(".qkv_proj." in k for k in published) and "quantizer.mask" in published
    own = layout.read(published, tok.config)
    for key, value in layout.read(today, tok.config).items():
        assert torch.equal(own[key], value), key
