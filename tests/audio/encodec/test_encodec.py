"""EnCodec against the authors' outputs in all four layouts, and against the classes of transformers and of `encodec`.

    pytest tests/audio/encodec/test_encodec.py
"""

import dataclasses
import json

import pytest
import torch
from audio_cases import as_folder, close, noise, shake, stored, stream_audio, stream_ids
from authors_files import write_as
from reference import reference_folder
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.layouts.keymap import NotWritable
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert, converter

pytestmark = pytest.mark.usefixtures("_no_grad")


@pytest.fixture
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("system", ["encodec", "encodec-audiocraft", "encodec-hf"])
def test_reference(system: str) -> None:
    for tok, name, want in stored(system):
        x = want["input"]
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"]), name
        close(tok.encode_latents(x), want["latent"], 2e-5)
        if "quantized" in want:
            close(tok.quantizer.decode(tokens.ids), want["quantized"], 2e-5)
        decoded = tok.decode(dataclasses.replace(tokens, sizes=None))
        close(decoded[..., : want["decoded"].shape[-1]], want["decoded"], 2e-5)
        close(tok.decode(tokens), want["forward"], 2e-5)
        close(tok(x).x_hat, want["forward"], 2e-5)
        for k in (1, 2, 3):
            if f"decoded_q{k}" in want:
                got = tok.decode(tokens.first(codebooks=k).ids)
                close(got[..., : want[f"decoded_q{k}"].shape[-1]], want[f"decoded_q{k}"], 2e-5)


def test_bandwidths() -> None:
    for tok, _, want in stored("encodec"):
        for bandwidth in (0.3, 0.6):
            got = tok.encode(want["input"], num_codebooks=tok.num_codebooks_for(bandwidth))
            assert torch.equal(got.ids, want[f"ids_bw{bandwidth}"])
        with pytest.raises(ValueError, match=r"0\.3, 0\.6, 1\.2"):
            tok.num_codebooks_for(2.4)
    for tok, _, want in stored("encodec-hf"):
        assert torch.equal(tok.encode(want["input"], num_codebooks=tok.num_codebooks_for(0.3)).ids, want["ids_bw0"][0])
    for tok, _, want in stored("encodec-audiocraft"):
        assert torch.equal(tok.encode(want["input"], num_codebooks=2).ids, want["ids_n2"])


def test_segments() -> None:
    for tok, name, want in stored("encodec-48k"):
        x, count = want["input"], sum(k.startswith("ids_seg") for k in want)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, torch.cat([want[f"ids_seg{i}"] for i in range(count)], -1)), name
        close(tokens.scale, torch.cat([want[f"scale_seg{i}"] for i in range(count)], -1), 1e-6)
        close(tok.encode_segments(x)[..., : want["latent_seg0"].shape[-1]], want["latent_seg0"], 5e-5)
        close(tok.decode(dataclasses.replace(tokens, sizes=None)), want["decoded"], 5e-5)
        close(tok.decode(dataclasses.replace(tokens.first(codebooks=1), sizes=None)), want["decoded_q1"], 5e-5)
        close(tok.decode(tokens), want["forward"], 5e-5)
        close(tok(x).x_hat, want["forward"], 5e-5)


@pytest.mark.parametrize("size", [1, 39, 300])
def test_streams_as_offline(size: int) -> None:
    """Clips of 5 samples, shorter than the mirrored padding, included."""
    for tok, _, want in stored("encodec"):
        parts = stream_ids(tok, want["input"], size)
        assert torch.equal(torch.cat([t.ids for t in parts], -1), want["ids"])
        assert sum(int(t.sizes[0, 0]) for t in parts) == want["input"].shape[-1]
        close(stream_audio(tok, parts), want["decoded"], 1e-5)


def test_latency_is_what_the_spec_says() -> None:
    for tok, _, want in stored("encodec"):
        if want["input"].shape[-1] < 400:
            continue
        wait, stream = tok.spec.latency_samples + 1, tok.stream()
        assert stream.push(want["input"][..., : wait - 1]) is None
        tokens = stream.push(want["input"][..., wait - 1 : wait])
        assert tokens is not None
        assert stream.decode(tokens).shape[-1] > 0


def test_long_audio_in_pieces() -> None:
    tok = next(stored("encodec"))[0]
    x = noise(1, 1, 40 * 500 + 7)
    whole = tok.encode(x)
    audio = tok.decode(whole)
    tok.piece_positions = 64
    assert torch.equal(tok.encode(x).ids, whole.ids)
    close(tok.decode(whole), audio, 1e-5)


PEERS = [
    dict(channels=1, n_residual_layers=3, lstm=0, true_skip=True, compress=3, dilation_base=3, causal=True),
    dict(channels=1, n_residual_layers=2, lstm=1, pad_mode="constant", causal=True, kernel_size=5),
    dict(channels=2, n_residual_layers=1, lstm=1, norm="time_group_norm", causal=False, last_kernel_size=3),
]


@pytest.mark.parametrize("seanet", PEERS)
def test_other_configurations_against_encodec(tmp_path, seanet: dict) -> None:
    pytest.importorskip("encodec", reason="the package encodec (extra `peers`) is not installed")
    from encodec.model import EncodecModel
    from encodec.modules import SEANetDecoder, SEANetEncoder
    from encodec.quantization import ResidualVectorQuantizer

    seanet = {"dimension": 12, "n_filters": 6, "ratios": [3, 4], **seanet}
    stereo = seanet["channels"] == 2
    model = {"target_bandwidths": [0.6], "sample_rate": 1200, "channels": seanet["channels"]}
    model |= {"normalize": True, "segment": 0.25, "overlap": 0.4} if stereo else {}
    rvq = {"dimension": 12, "n_q": 3, "bins": 32}
    parts = SEANetEncoder(**seanet), SEANetDecoder(**seanet), ResidualVectorQuantizer(**rvq)
    peer = shake(EncodecModel(*parts, **model))
    config = {"encoder": seanet, "decoder": seanet, "quantizer": rvq, "model": model}
    tok = as_folder(tmp_path, "encodec", config, peer.state_dict())
    for samples in (1, 100, 299, 605):
        x = noise(2, seanet["channels"], samples)
        frames, tokens = peer.encode(x), tok.encode(x)
        assert torch.equal(tokens.ids, torch.cat([f[0] for f in frames], -1))
        close(tok.decode(dataclasses.replace(tokens, sizes=None)), peer.decode(frames), 2e-5)
        assert tok.decode(tokens).shape == x.shape


@pytest.mark.parametrize("stereo", [False, True])
def test_other_configurations_against_transformers(tmp_path, stereo: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers (extra `peers`) is not installed")
    kind = {"audio_channels": 2, "norm_type": "time_group_norm", "use_causal_conv": False, "normalize": True}
    kind |= {"chunk_length_s": 0.5, "overlap": 0.05}
    config = transformers.EncodecConfig(
        sampling_rate=1200, target_bandwidths=[1.0, 2.0], hidden_size=10, codebook_size=32, num_filters=6,
        num_residual_layers=2, upsampling_ratios=[3, 4], num_lstm_layers=1, use_conv_shortcut=stereo, kernel_size=5,
        **(kind if stereo else {}),
    )  # fmt: skip
    peer = shake(transformers.EncodecModel(config))
    tok = as_folder(tmp_path, "encodec-hf", config.to_diff_dict(), peer.state_dict())
    for samples in (601, 1300):
        x = noise(2, config.audio_channels, samples)
        out = peer.encode(x, bandwidth=2.0)
        codes = list(out.audio_codes)
        codes[-1] = codes[-1][..., : codes[-1].shape[-1] - out.last_frame_pad_length]
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, torch.cat(codes, -1))
        close(tok.decode(tokens), peer(x, bandwidth=2.0).audio_values[..., :samples], 2e-5)


@pytest.mark.parametrize("system", ["encodec", "encodec-48k", "encodec-audiocraft", "encodec-hf"])
def test_names_are_the_authors(system: str) -> None:
    """What is written has every name and shape of the file that was read, and no other."""
    from safetensors.torch import load_file

    folder = reference_folder("audio", system)
    theirs = load_file(folder / ("model.safetensors" if system == "encodec-hf" else "weights.safetensors"))
    tok = next(stored(system))[0]
    ours = converter(system).write(tok.state_dict(), tok.config)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    again = converter(system).read(ours, tok.config)
    for key, value in converter(system).read(theirs, tok.config).items():
        torch.testing.assert_close(again[key], value, atol=1e-6, rtol=1e-5, msg=key)


STEREO = {
    **{"audio_channels": 2, "norm_type": "time_group_norm", "use_causal_conv": False, "normalize": True},
    **{"chunk_length_s": 0.5, "overlap": 0.05, "target_bandwidths": [1.0, 2.0], "sampling_rate": 1200},
}


@pytest.mark.parametrize("change", [{}, {"use_conv_shortcut": False, "pad_mode": "constant", "trim_right_ratio": 0.5}, STEREO])
def test_transformers_reads_what_we_write(tmp_path, change: dict) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers (extra `peers`) is not installed")
    config = {"hidden_size": 10, "codebook_size": 32, "num_filters": 6, "upsampling_ratios": [3, 4], "num_lstm_layers": 1}
    config |= {"target_bandwidths": [10.0, 20.0]} | change
    layout = converter("encodec-hf")
    tok = shake(build_tokenizer("encodec", layout.own_config(config)))
    folder = write_as(tok, "encodec-hf", tmp_path / "any name")
    peer, info = transformers.EncodecModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    x, bandwidth = noise(2, tok.spec.channels, 601), config["target_bandwidths"][-1]
    out = peer.eval().encode(x, bandwidth=bandwidth)
    codes = list(out.audio_codes)
    codes[-1] = codes[-1][..., : codes[-1].shape[-1] - out.last_frame_pad_length]
    assert torch.equal(tok.encode(x).ids, torch.cat(codes, -1))
    close(tok.decode(tok.encode(x)), peer(x, bandwidth=bandwidth).audio_values[..., :601], 2e-5)


def test_what_transformers_has_no_word_for_is_not_written() -> None:
    layout = converter("encodec-hf")
    own = layout.own_config({})
    assert layout.own_config(layout.authors_config(own)) == own
    for change, text in (
        ({"encoder": dataclasses.replace(own.encoder, activation="snake")}, "encoder.activation = 'snake'"),
        ({"encoder": dataclasses.replace(own.encoder, lstm_layers=0)}, "always has an LSTM"),
        ({"bandwidths_kbps": ()}, "counts its codebooks"),
        ({"bandwidths_kbps": (6.0,)}, "num_codebooks = 32"),
    ):
        with pytest.raises(NotWritable, match=text):
            layout.authors_config(dataclasses.replace(own, **change))
    by_gradient = dataclasses.replace(own.quantizer, update="gradient", num_codebooks=2, codebook_size=16)
    small = {"latent_dim": 8, "width": 2, "strides": (2, 2)}
    tiny = dataclasses.replace(own, encoder=dataclasses.replace(own.encoder, **small), decoder=None, quantizer=by_gradient)
    tiny = dataclasses.replace(tiny, sample_rate_hz=4000, bandwidths_kbps=(8.0,))
    state = layout.write(build_tokenizer("encodec", tiny).state_dict(), tiny)
    convert("encodec-hf", layout.authors_config(tiny), state)  # tables that were learnt by gradient get running sums


def test_best_weights_of_a_run_go_before_the_last_ones() -> None:
    tok, _, want = next(stored("encodec-audiocraft"))
    config = json.loads((reference_folder("audio", "encodec-audiocraft") / "config.json").read_text())
    best = converter("encodec-audiocraft").write(tok.state_dict(), tok.config)
    last = {k: torch.randn_like(v) for k, v in best.items()}
    for file in (best, {"best_state": best, "xp.cfg": "a: 1", "exported": True}, {"model": last, "best_state": {"model": best}}):
        assert torch.equal(convert("encodec-audiocraft", config, file).encode(want["input"]).ids, want["ids"])
    assert not torch.equal(convert("encodec-audiocraft", config, {"model": last}).encode(want["input"]).ids, want["ids"])


def test_keys_that_the_class_does_not_read_give_a_warning() -> None:
    """`EncodecConfig(chunk_in_sec=None)`, as the suite of transformers has it, keeps and saves the key."""
    with pytest.warns(UserWarning, match="chunk_in_sec = None"):
        assert converter("encodec-hf").own_config({"chunk_in_sec": None}) == converter("encodec-hf").own_config({})


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"dimensoin.*dimension"):
        convert("encodec", {"encoder": {"dimensoin": 12}, "decoder": {}, "quantizer": {}, "model": {}}, {})
    with pytest.raises(ValueError, match="codebook_dim"):
        convert("encodec-hf", {"codebook_dim": 64}, {})
    with pytest.raises(CheckpointError, match="does not know"):
        convert("encodec-hf", {"num_filters": 2}, {"encoder.layers.99.conv.weight": torch.zeros(1)})
