"""DAC against the authors' outputs and the class of transformers.

    pytest tests/audio/dac/test_dac.py
"""

import dataclasses

import pytest
import torch
from audio_cases import as_folder, close, noise, shake, stored
from authors_files import write_as
from reference import reference_folder
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.layouts.keymap import NotWritable
from tokenzoo.codecs.quantizers.fsq import FSQConfig
from tokenzoo.zoo.convert import convert, converter

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
        close(tok.decode(tokens.ids).view(shape), want["decoded"], 5e-5)
        for k in (1, 2, 3):
            if f"decoded_q{k}" in want:
                got = tok.decode(tokens.first(codebooks=k).ids)
                close(got.view(shape), want[f"decoded_q{k}"], 5e-5)
        audio = tok.decode(tokens)
        assert audio.shape == x.shape  # the authors' is shorter: odd strides
        end = want["forward"].shape[-1]
        close(audio[..., :end].view(want["forward"].shape), want["forward"], 5e-5)
        assert not audio[..., end:].any()
        close(tok(x).x_hat, audio, 1e-5)


def test_long_audio_in_pieces() -> None:
    tok = next(stored("dac"))[0]
    x = noise(1, 1, tok.spec.hop_samples * 400 + 13)
    whole = tok.encode(x)
    audio = tok.decode(whole)
    tok.piece_positions = 16
    assert torch.equal(tok.encode(x).ids, whole.ids)
    close(tok.decode(whole), audio, 1e-5)


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
        got = tok.decode(tokens.ids)[:, 0]
        close(got, peer.decode(audio_codes=out.audio_codes).audio_values, 2e-5)
        assert tok.decode(tokens).shape == x.shape
    # what the feature extractor does before: fill up to a multiple that need not be the frame
    for multiple in (6, 10):
        padded = convert("dac-hf", config.to_diff_dict() | {"pad_to_samples": multiple}, peer.state_dict())
        extractor = transformers.DacFeatureExtractor(sampling_rate=16000, hop_length=multiple)
        for samples in (1, 6, 10, 58, 61):
            x = noise(1, 1, samples)
            filled = extractor(x[0, 0].numpy(), sampling_rate=16000, return_tensors="pt")["input_values"].view(1, 1, -1)
            tokens = padded.encode(x)
            assert torch.equal(tokens.ids, peer.encode(filled).audio_codes), (multiple, samples)
            assert tokens.ids.shape[-1] == padded.num_frames(samples)
            assert padded.decode(tokens).shape == x.shape


def test_extractors_of_the_hub_fill_up_to_512_samples_whatever_the_frame() -> None:
    """descript/dac_16khz has frames of 320 samples: one second is 16384 samples for it, 51 frames and not 50."""
    from tokenzoo.zoo.registry import card

    config = {"downsampling_ratios": [2, 4, 5, 8], "encoder_hidden_size": 2, "decoder_hidden_size": 16, "n_codebooks": 1}
    for name in ("dac-16khz", "dac-24khz", "dac-44khz"):
        assert card(name).config_overrides == {"pad_to_samples": 512}
    tok = build_tokenizer("dac", converter("dac-hf").own_config(config | card("dac-16khz").config_overrides)).eval()
    x = noise(1, 1, 16000)
    tokens = tok.encode(x)
    assert tokens.ids.shape[-1] == tok.num_frames(16000) == 51
    assert torch.equal(tokens.ids, tok.encode(torch.nn.functional.pad(x, (0, 384))).ids)
    assert tok.decode(tokens).shape == x.shape
    short = tok.encode(x[..., :512])  # one frame of 320: the rest is silence
    assert short.ids.shape[-1] == 1 and tok.decode(short).shape == (1, 1, 512)
    with pytest.raises(ValueError, match="fill is 0"):
        converter("dac-hf").own_config({"pad_to_samples": 0})


@pytest.mark.parametrize("fill", ["none", 10, 7])
def test_pieces_of_long_audio_are_filled_up_as_the_whole(fill: str | int) -> None:
    config = {"encoder_hidden_size": 4, "downsampling_ratios": [3, 2], "decoder_hidden_size": 16, "n_codebooks": 3}
    tok = build_tokenizer("dac", converter("dac-hf").own_config(config | ({} if fill == "none" else {"pad_to_samples": fill})))
    shake(tok)
    for samples in (1800, 1801, 1804, 1806):
        x = noise(2, 1, samples)
        tok.piece_positions = 3000
        whole = tok.encode(x)
        assert whole.ids.shape[-1] == tok.num_frames(samples)
        tok.piece_positions = 16
        assert torch.equal(tok.encode(x).ids, whole.ids)


TINY = {
    **{"encoder_dim": 4, "encoder_rates": [2, 3], "decoder_dim": 16, "decoder_rates": [3, 2], "n_codebooks": 3},
    **{"codebook_size": 32, "latent_dim": 10},
}


@pytest.mark.parametrize("widths", [4, [4, 7, 2]])
def test_one_width_of_codes_or_one_a_level(widths: int | list[int]) -> None:
    """Names and shapes of descript's `ResidualVectorQuantize`."""
    config = TINY | {"codebook_dim": widths}
    own = converter("dac").own_config(config)
    tok = shake(build_tokenizer("dac", own))
    state = converter("dac").write(tok.state_dict(), own)
    for k, d in enumerate([4, 4, 4] if widths == 4 else widths):
        at = f"quantizer.quantizers.{k}."
        assert state[at + "codebook.weight"].shape == (32, d)
        assert state[at + "in_proj.weight_v"].shape == (d, 10, 1) and state[at + "in_proj.weight_g"].shape == (d, 1, 1)
        assert state[at + "out_proj.weight_v"].shape == (10, d, 1) and state[at + "out_proj.bias"].shape == (10,)
    peer_state = {"state_dict": state, "metadata": {"kwargs": config}}
    again = convert("dac", converter("dac").authors_config(own), peer_state)
    x = noise(2, 1, 61)
    assert torch.equal(again.encode(x).ids, tok.encode(x).ids)
    close(again.decode(again.encode(x)), tok.decode(tok.encode(x)), 1e-5)


@pytest.mark.parametrize("widths", [4, [4, 7, 2]])
def test_descript_reads_what_we_write(widths: int | list[int]) -> None:
    dac = pytest.importorskip("dac", reason="descript-audio-codec is not installed (see pyproject.toml)")
    config = TINY | {"codebook_dim": widths}
    own = converter("dac").own_config(config)
    tok = shake(build_tokenizer("dac", own))
    peer = dac.DAC(**converter("dac").authors_config(own)).eval()
    peer.load_state_dict(converter("dac").write(tok.state_dict(), own))
    for samples in (1, 60, 61):
        x = noise(2, 1, samples)
        codes = peer.encode(peer.preprocess(x, 44100))[1]
        assert torch.equal(codes, tok.encode(x).ids)


@pytest.mark.parametrize("system", ["dac", "dac-hf"])
def test_names_are_the_authors(system: str) -> None:
    """What is written has every name and shape of the file that was read, and no other."""
    from safetensors.torch import load_file

    folder = reference_folder("audio", system)
    theirs = load_file(next(folder.glob("*s.safetensors")) if system != "dac-hf" else folder / "model.safetensors")
    tok = next(stored(system))[0]
    ours = converter(system).write(tok.state_dict(), tok.config)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    for key in theirs:
        if "weight" not in key or "_g" in key or system == "dac-hf":
            torch.testing.assert_close(ours[key].float(), theirs[key].float(), atol=1e-6, rtol=1e-5, msg=key)


def test_transformers_reads_what_we_write(tmp_path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers (extra `peers`) is not installed")
    tok = next(stored("dac-hf"))[0]
    folder = write_as(tok, "dac-hf", tmp_path / "dac")
    peer, info = transformers.DacModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    x = noise(2, 1, 400)
    out = peer.eval().encode(x)
    assert torch.equal(out.audio_codes, tok.encode(x).ids)
    close(peer.decode(audio_codes=out.audio_codes).audio_values, tok.decode(tok.encode(x).ids)[:, 0], 5e-5)


def test_what_the_authors_have_no_word_for_is_not_written() -> None:
    own = converter("dac-hf").own_config({})
    for change, text in (
        ({"quantizer": dataclasses.replace(own.quantizer, codebook_dim=tuple(range(1, 10)))}, "one for all levels"),
        ({"quantizer": dataclasses.replace(own.quantizer, normalize=False)}, "quantizer.normalize = False"),
        ({"quantizer": FSQConfig(levels=(4, 4))}, "residual_vq"),
    ):
        with pytest.raises(NotWritable, match=text):
            converter("dac-hf").authors_config(dataclasses.replace(own, **change))
    trained = dataclasses.replace(own.quantizer, update="ema", kmeans_init=True, replace_below=0.1)
    converter("dac-hf").authors_config(dataclasses.replace(own, quantizer=trained))  # training settings do not matter


def test_layers_that_a_file_gives_other_sizes_than_the_class_derives(tmp_path) -> None:
    """`DacConfig` derives `hidden_size` and `upsampling_ratios`, and lets a file overrule it: the 16 kbps model fits in so."""
    transformers = pytest.importorskip("transformers", reason="transformers (extra `peers`) is not installed")
    own = converter("dac").own_config(TINY | {"decoder_rates": [6, 1], "codebook_dim": 4})
    tok = shake(build_tokenizer("dac", own))
    peer = transformers.DacModel.from_pretrained(write_as(tok, "dac-hf", tmp_path / "dac")).eval()
    x = noise(2, 1, 60)
    assert peer.config.hidden_size == 10
    assert torch.equal(peer.encode(x).audio_codes, tok.encode(x).ids)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="codebook_dim"):
        convert("dac", {"codebook_dim": [8, 4]}, {})  # of nine codebooks
