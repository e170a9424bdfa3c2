"""WavTokenizer against the authors' outputs.

    pytest tests/zoo/convert/test_wavtokenizer.py
"""

import pytest
import torch
from audio_cases import close, stored
from tokenzoo.zoo.convert import convert

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


def test_condition_is_checked() -> None:
    tok, _, want = next(stored("wavtokenizer"))
    with pytest.raises(ValueError, match="0 to 3"):
        tok.decode_latents(want["latent"], condition=4)


def test_reads_a_whole_yaml() -> None:
    """The same three parts, as the authors' YAML nests them."""
    from tokenzoo.zoo.convert.wavtokenizer import CONVERTERS

    args = {part: {"class_path": "x", "init_args": args} for part, args in PARTS.items()}
    model = {"class_path": "y", "init_args": {"sample_rate": 24000, **args}}
    nested = {"seed_everything": 1, "model": model, "data": {}}
    assert CONVERTERS[0].config(nested) == CONVERTERS[0].config(PARTS)


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
