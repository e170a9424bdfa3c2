"""SpeechTokenizer and DM-Codec against the authors' outputs.

    pytest tests/audio/speechtokenizer/test_speechtokenizer.py
"""

import json

import pytest
import torch
from audio_cases import close, stored
from reference import reference_folder
from tokenzoo.zoo.convert import convert, converter


@pytest.mark.parametrize("system", ["speechtokenizer", "dm-codec"])
@torch.no_grad()
def test_reference(system: str) -> None:
    for tok, name, want in stored(system):
        x = want["input"]
        tokens, z = tok.encode(x), tok.encode_latents(x)
        assert torch.equal(tokens.ids, want["ids"].transpose(0, 1)), name
        assert torch.equal(tok.encode(x, num_codebooks=2).ids, want["ids_n2"].transpose(0, 1))
        close(z, want["latent"], 2e-5)
        close(tok.quantizer.decode(tokens.ids), want["quantized"], 2e-5)
        close(tok.decode(tokens.ids), want["decoded"], 2e-5)
        close(tok.decode(tokens), want["forward"][..., : x.shape[-1]], 2e-5)
        for k in range(1, tok.spec.num_codebooks):
            close(tok.decode(tokens.first(codebooks=k).ids), want[f"decoded_q{k}"], 2e-5)
        # Levels from the second on, as the authors' argument `st` has them: not what `encode` gives for them.
        assert torch.equal(tok.ids_from(z, 1), want["ids_st1"].transpose(0, 1))
        close(tok.decode_latents(tok.latents_from(tokens.ids[:, 1:], 1)), want["decoded_from1"], 2e-5)
        for k in range(tok.spec.num_codebooks):
            close(tok.latents_from(tokens.ids[:, k : k + 1], k), want[f"quantized_layer{k}"], 2e-5)
        out = tok(x)
        close(out.x_hat, want["forward"][..., : x.shape[-1]], 2e-5)
        close(out.features["semantic"].transpose(1, 2), want["semantic_feature"], 2e-5)


def test_distillation_reaches_encoder_and_head() -> None:
    tok, _, want = next(stored("speechtokenizer"))
    tok.train()
    tok(want["input"]).features["semantic"].square().mean().backward()
    assert tok.encoder.stem.weight.grad.abs().sum() > 0
    assert tok.semantic_head.weight.grad.abs().sum() > 0


def test_first_codebook_is_named() -> None:
    tok, _, want = next(stored("speechtokenizer"))
    tokens = tok.encode(want["input"])
    assert tokens.names == ("semantic", "acoustic", "acoustic", "acoustic")
    assert torch.equal(tokens.track("semantic").ids, tokens.ids[:, :1])


def test_refuses_what_it_does_not_know() -> None:
    config = dict(
        n_filters=4, strides=[2], dimension=8, semantic_dimension=8, bidirectional=True, dilation_base=2,
        residual_kernel_size=3, n_residual_layers=1, lstm_layers=1, activation="Mish", codebook_size=8, n_q=2,
        sample_rate=8000, epochs=3,
    )  # fmt: skip
    with pytest.raises(ValueError, match="Mish"):
        convert("speechtokenizer", config, {})
    with pytest.raises(ValueError, match="sampling_rate"):
        convert("speechtokenizer", config | {"activation": "ELU", "sampling_rate": 16000}, {})
    with pytest.warns(UserWarning, match="colour = 1"):  # the class asks for what it needs, and reads nothing else
        converter("speechtokenizer").own_config(config | {"activation": "ELU", "colour": 1})


@torch.no_grad()
def test_a_checkpoint_of_the_trainer_holds_the_network_as_its_generator() -> None:
    tok, _, want = next(stored("dm-codec"))
    config = json.loads((reference_folder("audio", "dm-codec") / "config.json").read_text())
    state = converter("dm-codec").write(tok.state_dict(), tok.config)
    package = {"generator": state, "discriminators": {"mpd": {"convs.0.weight_g": torch.ones(3, 1, 1)}}, "best_dev_mel_loss": 0.4}
    assert torch.equal(convert("dm-codec", config, package).encode(want["input"]).ids, want["ids"].transpose(0, 1))
