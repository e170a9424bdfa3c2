"""S3 against the stored outputs of its PyTorch port, window by window, and out of ONNX files.

pytest tests/audio/s3
"""

import pytest
import tokenzoo
import torch
from audio_cases import close, noise, shake, stored
from contract_cases import build
from s3_graphs import graph_of, onnx_bytes
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.layouts.systems import converter
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.convert import convert

SYSTEMS = ["s3tokenizer-v1", "s3tokenizer-v2", "s3tokenizer-v3"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_stored_outputs(system):
    for tok, name, case in stored(system):
        if name == "long_b2":
            mel = case["mel_u8"][None] / 64 - 2
            with torch.no_grad():
                parts = [tok.latents_of_mel(mel[..., w.start : w.stop])[..., w.first : w.last] for w in tok.windows(mel.shape[-1])]
            assert torch.equal(tok.quantizer.encode(torch.cat(parts, -1))[0], case["ids_alone"])
            assert torch.equal(tok.encode(case["wav_short"]).ids[0, 0], case["ids"][1, : case["ids_len"][1]])
            continue
        clips = [case[k] for k in ("wav", "wav0", "wav1") if k in case]
        tokens = tok.encode(clips if len(clips) > 1 else clips[0])
        for i, clip in enumerate(clips):
            frames, length = clip.shape[-1] // 160, int(case["ids_len"][i])
            close(tok.mel(clip)[0], case["mel"][i, :, :frames], 1e-5)
            with torch.no_grad():
                close(tok.encoder(tok.mel(clip))[0].t(), case["hidden"][i, :length], 1e-4)
            assert torch.equal(tokens[i].ids[0, 0], case["ids"][i, :length]) and tok.num_frames(clip.shape[-1]) == length


@pytest.mark.parametrize(("frames", "kept"), [(48, 12), (49, 13), (64, 16), (65, 15), (72, 16), (73, 18), (80, 20), (97, 23)])
def test_windows_keep_what_the_port_keeps(frames, kept):
    """Windows of 48 frames every 32; 8 frames, 2 ids, are dropped on each side of a seam, and with a short last window at the end."""
    tok = build("s3")
    windows = tok.windows(frames)
    assert sum(w.last - w.first for w in windows) == kept == tok.num_frames(160 * frames)
    x = noise(1, 1, 160 * frames)
    mel, parts = tok.mel(x[:, 0]), []
    starts = [0] if frames <= 48 else list(range(0, frames, 32))
    for i, start in enumerate(starts):
        ids = tok.quantizer.encode(tok.latents_of_mel(mel[..., start : start + 48]))[0, 0]
        parts.append(ids[2 if i else 0 : len(ids) - 2 if i < len(starts) - 1 else None])
    assert torch.equal(tok.encode(x).ids[0, 0], torch.cat(parts))


@pytest.mark.parametrize("samples", [1, 159, 200, 201, 320, 639, 640, 641])
def test_short_clips(samples):
    tok = build("s3-v1")
    assert tok.encode(noise(samples)).ids.shape == (1, 1, tok.num_frames(samples))
    assert tok.num_frames(samples) == -(-max(1, samples // 160) // 2)


def test_a_window_longer_than_the_table_is_refused():
    tok = tokenzoo.build_tokenizer("s3", {"bands": 8, "width": 16, "heads": 2, "layers": 1, "memory": 0, "table": 11})
    assert tok.encode(noise(11 * 640)).ids.shape == (1, 1, 11)
    with pytest.raises(ValueError, match="positions for 11"):
        tok.encode(noise(12 * 640))


def test_it_only_encodes():
    tok = build("s3-v1")
    tokens = tok.encode(noise(4000))
    with pytest.raises(NotDecodable):
        tok.decode(tokens)
    assert torch.equal(tok.semantic(tokens)[0].t(), tok.quantizer.codebook.embed[tokens.ids[0, 0]])
    assert tok.encode_latents(noise(1, 1, 4000)).norm(dim=1).allclose(torch.ones(1))


def theirs(version):
    small = {"n_mels": 8, "n_audio_state": 32, "n_audio_head": 2, "n_audio_layer": 1, "hard_coded_overrides": {"rotary_head_width": 16}}
    return small | {"name": f"speech_tokenizer_{version}_25hz"}


def test_a_copy_in_transformers_words():
    """Its keys have a prefix, and constants beside them; its config names the class, and no version."""
    tok = shake(tokenzoo.build_tokenizer("s3", converter("s3tokenizer").own_config(theirs("v2"))))
    state = {f"s3_model.{k}": v for k, v in converter("s3tokenizer").write(tok.state_dict(), tok.config).items()}
    state |= {"window": torch.ones(400), "_mel_filters": torch.ones(8, 201), "s3_model.encoder.freqs_cis": torch.ones(2048, 16)}
    config = {k: v for k, v in theirs("v2").items() if k != "name"} | {"model_type": "s3tokenizer", "vocab_size": 6561}
    again = convert("s3tokenizer", config, state)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in tok.state_dict().items())


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
@pytest.mark.parametrize("fused_norms", [True, False])
def test_a_graph_gives_the_weights_back(version, fused_norms, tmp_path):
    """Through a file, with names for constants that say nothing, first-input biases, and constants that are no weights."""
    config = {k: v for k, v in theirs(version).items() if version != "v1" or k != "hard_coded_overrides"}
    own = converter("s3tokenizer").own_config(config)
    tok = shake(tokenzoo.build_tokenizer("s3", own))
    (tmp_path / "speech_tokenizer.onnx").write_bytes(onnx_bytes(graph_of(tok, fused_norms=fused_norms)))
    from tokenzoo.zoo.weight_files import read_weights

    again = convert("s3tokenizer-onnx", config, read_weights("speech_tokenizer.onnx", lambda name: tmp_path / name))
    kept = {k for k in tok.state_dict() if not k.endswith((".counts", ".sums", ".ready", ".steps"))}
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in tok.state_dict().items() if k in kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"/conv1/Conv/strides": torch.tensor([1])}, "another version"),
        ({"/blocks.0/attn/key/Add/operand": torch.ones(32)}, "attention.k.bias"),
        ({"/blocks.0/attn/gate/MatMul/operand": torch.ones(32, 32)}, "not known"),
        ({"/blocks.0/attn/query/Add/operand": None}, "attention.q.bias"),
    ],
)
def test_graphs_of_another_network_are_refused(change, message):
    config = theirs("v2")
    state = graph_of(tokenzoo.build_tokenizer("s3", converter("s3tokenizer").own_config(config))) | change
    with pytest.raises(CheckpointError, match=message):
        convert("s3tokenizer-onnx", config, {k: v for k, v in state.items() if v is not None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "3 heads"),
        ({"width": 18, "heads": 6}, "even number"),
        ({"memory": 4}, "odd"),
        ({"strides": [0, 2]}, "at least 1"),
        ({"overlap_frames": 12}, "multiple of 8"),
        ({"overlap_frames": 48}, "shorter than the window"),
        ({"layers": 0}, "at least 1"),
    ],
)
def test_settings_that_fit_no_network(change, message):
    small = {"bands": 8, "width": 16, "heads": 2, "layers": 1, "memory": 3, "window_frames": 48, "overlap_frames": 16}
    with pytest.raises(ConfigError, match=message):
        tokenzoo.build_tokenizer("s3", small | change)
