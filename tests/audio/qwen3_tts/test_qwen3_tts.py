"""The 12.5 Hz tokenizer of Qwen3-TTS against the authors' outputs.

    pytest tests/audio/qwen3_tts/test_qwen3_tts.py
"""

import pytest
import torch
from reference import load_io, reference_folder
from tokenzoo.zoo.convert import converter, load_reference


def close(got: torch.Tensor, want: torch.Tensor, atol: float = 5e-5) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=1e-4)


@pytest.fixture
def loaded():
    folder = reference_folder("audio", "qwen3-tts-tokenizer-12hz")
    cases: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in load_io(folder).items():
        name, what = key.split(".")
        cases.setdefault(name, {})[what] = value
    return load_reference(folder), cases


@torch.no_grad()
def test_encode(loaded) -> None:
    tok, cases = loaded
    for name, want in cases.items():
        if "input" not in want:
            continue
        x = want["input"][:, None]
        assert torch.equal(tok.quantizer.search.encode(tok.encode_latents(x)), want["ids_encoder"]), name
        lengths = want["padding_mask"].sum(1).tolist()
        tokens = tok.encode([clip[:, :n] for clip, n in zip(x, lengths, strict=True)])
        for i in range(len(x)):
            assert torch.equal(tokens[i].ids[0].T, want[f"ids_audio{i}"]), (name, i)


@torch.no_grad()
def test_decode(loaded) -> None:
    tok, cases = loaded
    for want in cases.values():
        ids = want["ids_random"] if "ids_random" in want else want["ids_encoder"][:, :4]
        close(tok.quantizer.decode(ids), want["quantized"])
        close(tok.decode(ids), want["decoded_raw"])
        for chunk, left in ((6, 2), (5, 5)):
            audio = tok.decode_as_published(ids, chunk_frames=chunk, left_frames=left)
            close(audio, want[f"decoded_chunk{chunk}_left{left}"])
        for i in range(len(ids)):
            size = want[f"decoded{i}"].shape[-1]
            close(tok.decode_as_published(ids[i : i + 1])[0, 0, :size], want[f"decoded{i}"])


@torch.no_grad()
def test_streams_as_offline(loaded) -> None:
    tok, cases = loaded
    for name in ("mult_b1", "odd_b1"):
        x = cases[name]["input"][:, None]
        whole, stream = tok.encode(x), tok.stream()
        pieces = [t for piece in x.split(133, dim=-1) if (t := stream.push(piece)) is not None]
        pieces += [t] if (t := stream.flush()) is not None else []
        assert torch.equal(torch.cat([t.ids for t in pieces], -1), whole.ids)
        close(torch.cat([stream.decode(t) for t in pieces], -1), cases[name]["decoded_raw"], atol=1e-5)


def test_wrong_configurations() -> None:
    make = converter("qwen3-tts-tokenizer-12hz").config
    assert make({"decoder_config": {"codebook_dim": 512}})["num_codebooks"] == 16  # the authors' defaults
    with pytest.raises(ValueError, match="decode_upsample_rate"):
        make({"decode_upsample_rate": 960})
    with pytest.raises(ValueError, match="num_quantizers"):
        make({"encoder_valid_num_quantizers": 8})
