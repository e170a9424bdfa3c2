"""WavTokenizer against the authors' outputs.

    pytest tests/audio/wavtokenizer/test_wavtokenizer.py
"""

import dataclasses
import json

import pytest
import torch
from audio_cases import close, noise, shake, stored
from authors_files import write_as
from reference import reference_folder
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.layouts.keymap import NotWritable
from tokenzoo.codecs.quantizers.fsq import FSQConfig
from tokenzoo.zoo.convert import convert, converter

PARTS = {
    "feature_extractor": {"dowmsamples": [4, 2], "vq_bins": 16},
    "backbone": {"input_channels": 512, "dim": 32, "intermediate_dim": 48, "num_layers": 1},
    "head": {"dim": 32, "n_fft": 16, "hop_length": 8, "padding": "same"},
}


@torch.no_grad()
def test_reference() -> None:
    for tok, name, want in stored("wavtokenizer"):
        x = want["input"][:, None]
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"].transpose(0, 1)), name
        close(tok.encode_latents(x), want["latent"], 5e-5)
        z_q = tok.quantizer.decode(tokens.ids)
        close(z_q, want["features"], 5e-5)
        close(z_q, want["features_from_ids"], 5e-5)
        for condition in (0, 2):
            close(tok.decoder.features(z_q, condition), want[f"backbone_bw{condition}"], 5e-5)
            close(tok.decode_latents(z_q, condition=condition)[:, 0], want[f"decoded_bw{condition}"], 5e-5)
        audio = tok.decode(tokens)
        close(audio[:, 0], want["forward"][:, : x.shape[-1]], 5e-5)
        close(tok(x).x_hat, audio, 1e-5)


@torch.no_grad()
def test_transformers_reference() -> None:
    """Both condition embeddings; the padding that the class adds itself; ids where the mask is on."""
    for tok, name, want in stored("wavtokenizer-hf"):
        x = want["input_values"]
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"]), name
        close(tok.encode_latents(x), want["latent"], 5e-5)
        z_q = tok.quantizer.decode(tokens.ids)
        close(z_q, want["quantized_from_ids"], 5e-5)
        close(tok.decoder.features(z_q, 0), want["backbone"], 5e-5)
        close(tok.decode(tokens.ids), want["decoded"], 5e-5)
        close(tok.decode_latents(z_q, condition=1), want["decoded_band1"], 5e-5)
        close(tok.decode(tokens), want["forward"], 5e-5)
        if "ids_mask" in want:  # the padded samples are encoded too; the mask says which ids are a clip's own
            lengths = want["padding_mask"].sum(-1)
            assert want["ids_mask"].sum(-1).flatten().tolist() == [tok.num_frames(int(n)) for n in lengths]
            assert torch.equal(want["ids_mask_left"].flip(-1), want["ids_mask"])


@torch.no_grad()
def test_names_are_the_authors() -> None:
    """What is written has every name and shape of the file that was read, but for what the authors compute or never use."""
    from safetensors.torch import load_file

    for system, file in (("wavtokenizer", "weights.safetensors"), ("wavtokenizer-hf", "model.safetensors")):
        theirs = load_file(reference_folder("audio", system) / file)
        tok = next(stored(system))[0]
        ours = converter(system).write(tok.state_dict(), tok.config)
        unused = ("feature_extractor.encodec.decoder.", "head.istft.window")
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items() if not k.startswith(unused)}


HF = {
    **{"num_filters": 4, "upsampling_ratios": [3, 2], "hidden_size": 6, "codebook_dim": 6, "codebook_size": 16},
    **{"num_lstm_layers": 1, "decoder_hidden_size": 12, "decoder_intermediate_size": 20, "decoder_num_layers": 2},
    **{"decoder_attention_num_groups": 3},
}


@pytest.mark.parametrize(
    "change", [{}, {"use_causal_conv": True, "adanorm_num_embeddings": 1}, {"norm_type": "time_group_norm", "norm_eps": 1e-3}]
)
@torch.no_grad()
def test_transformers_reads_what_we_write(tmp_path, change: dict) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.24", reason="transformers with WavTokenizer is not installed")
    layout = converter("wavtokenizer-hf")
    tok = shake(build_tokenizer("wavtokenizer", layout.own_config(HF | change)))
    folder = write_as(tok, "wavtokenizer-hf", tmp_path / "any name")
    peer, info = transformers.WavTokenizerModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for samples in (1, 60, 101):
        x = noise(2, 1, samples)
        codes, tokens = peer.eval().encode(x).audio_codes, tok.encode(x)
        assert torch.equal(tokens.ids, codes)
        close(tok.decode(tokens.ids), peer.decode(codes).audio_values, 5e-5)
    # the same in the names of files that were written before the encoder became a part of its own
    flat = {k.removeprefix("encoder_model."): v for k, v in peer.state_dict().items()}
    again = convert("wavtokenizer-hf", json.loads((folder / "config.json").read_text()), flat)
    assert torch.equal(again.encode(x).ids, codes)


def test_what_transformers_has_no_word_for_is_not_written() -> None:
    layout = converter("wavtokenizer-hf")
    own = layout.own_config(HF)
    for change, text in (
        ({"conditions": 0}, "conditions is 0"),
        ({"window_samples": 12}, "window_samples = 12"),
        ({"quantizer": FSQConfig(levels=(4, 4))}, "'vq' only"),
    ):
        with pytest.raises(NotWritable, match=text):
            layout.authors_config(dataclasses.replace(own, **change))


@torch.no_grad()
def test_the_trainers_parts_are_left_out_before_anything_else() -> None:
    """Also a discriminator with half of a weight norm, and the last file's whole wrapper."""
    tok, _, want = next(stored("wavtokenizer"))
    config = json.loads((reference_folder("audio", "wavtokenizer") / "config.json").read_text())
    state = converter("wavtokenizer").write(tok.state_dict(), tok.config)
    extra = {"multiperioddisc.convs.0.weight_g": torch.ones(3, 1, 1), "melspec_loss.mel.window": torch.ones(4)}
    file = {"epoch": 3, "optimizer_states": [], "state_dict": state | extra}
    assert torch.equal(convert("wavtokenizer", config, file).encode(want["input"][:, None]).ids, want["ids"].transpose(0, 1))


def test_condition_is_checked() -> None:
    tok, _, want = next(stored("wavtokenizer"))
    with pytest.raises(ValueError, match="0 to 3"):
        tok.decode_latents(want["latent"], condition=4)
    with pytest.raises(ValueError, match="groups = 5"):
        dataclasses.replace(tok.config, groups=5)


def test_reads_a_whole_yaml() -> None:
    """The same three parts, as the authors' YAML nests them."""
    args = {part: {"class_path": "x", "init_args": args} for part, args in PARTS.items()}
    model = {"class_path": "y", "init_args": {"sample_rate": 24000, **args}}
    nested = {"seed_everything": 1, "model": model, "data": {}}
    assert converter("wavtokenizer").own_config(nested) == converter("wavtokenizer").own_config(PARTS)


def test_refuses_what_it_does_not_know() -> None:
    for part, key, value in (
        ("feature_extractor", "num_quantizers", 2),
        ("head", "padding", "center"),
        ("head", "hop_length", 4),
        ("backbone", "input_channels", 8),
    ):
        config = {name: dict(args) for name, args in PARTS.items()}
        config[part][key] = value
        with pytest.raises(ValueError, match=key):
            convert("wavtokenizer", config, {})
