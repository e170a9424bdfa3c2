"""First weights of sound codecs: recordings give different latents, at the widths of toys and of published models."""

import pytest
import torch
from tokenzoo.codecs.audio.start import LEVEL, start_sound
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.layers.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from torch import Tensor, nn

#: Narrow settings of families that start so.
NARROW = {
    "encodec": {"encoder": {"width": 4, "strides": [4, 5, 8], "latent_dim": 16, "causal": True}},
    "nemo_codec": {"encoder": {"width": 4, "strides": [4, 5, 8]}, "decoder": {"width": 32, "strides": [8, 5, 4]}},
    "snac": {"encoder_width": 4, "decoder_width": 32, "strides": [4, 5, 8]},
    "sq_codec": {"width": 4, "latent_dim": 8},
    "longcat": {"encoder_width": 4, "decoder_width": 32, "latent_dim": 16, "semantic_size": 0},
}


def recordings(level: float = LEVEL) -> Tensor:
    """Noise of that RMS, `[8, 1, 6400]`, a clip of its own in each row."""
    return level * torch.randn(8, 1, 6400, generator=torch.Generator().manual_seed(0))


def own(z: Tensor) -> float:
    """Of the power of latents `[B, D, L]`, the share that differs from item to item."""
    return float(z.var(0).mean() / z.square().mean())


@pytest.mark.parametrize("name", NARROW)
def test_latents_of_narrow_codecs_are_those_of_their_input(name):
    torch.manual_seed(0)
    codec = build_tokenizer(name, NARROW[name]).eval()
    with torch.no_grad():
        z = codec.encode_latents(recordings())
        x_hat = codec.decode_latents(z)
    assert own(z) > 0.15 and 0.05 < float(z.std()) < 3
    assert 0 < float(x_hat.square().mean().sqrt()) < LEVEL


@pytest.mark.parametrize("width", [4, 32])
def test_torchs_own_weights_would_lose_the_input(width):
    config = SEANetConfig(width=width, lstm_layers=0)
    torch.manual_seed(0)
    encoder, decoder = SEANetEncoder(config), SEANetDecoder(config)
    with torch.no_grad():
        assert own(encoder(recordings())) < 0.02
        start_sound(encoder, decoder)
        assert own(encoder(recordings())) > 0.5


def test_the_level_is_taken_from_the_first_layer_to_the_last():
    config = SEANetConfig(width=4, lstm_layers=0)
    found = []
    for level in (1.0, 0.5):
        torch.manual_seed(0)
        encoder, decoder = SEANetEncoder(config), SEANetDecoder(config)
        start_sound(encoder, decoder, level=level)
        found.append((encoder.stem.weight.detach(), encoder.head.weight.detach(), decoder.head.weight.detach()))
    (stem, between, head), (louder, same, quieter) = found
    assert torch.equal(louder, 2 * stem) and torch.equal(same, between) and torch.equal(quieter, head / 2)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_codec_that_divides_by_loudness_needs_no_gain(normalize):
    torch.manual_seed(0)
    codec = build_tokenizer("encodec", {"normalize": normalize, "encoder": {"width": 8, "causal": not normalize}})
    gain = 1.0 if normalize else 1 / LEVEL
    assert float(codec.encoder.stem.weight.detach().std()) == pytest.approx(gain * 7**-0.5, rel=0.3)


def test_a_decoder_of_another_kind_is_left_alone():
    torch.manual_seed(0)
    codec = build_tokenizer("wavtokenizer", {"width": 32, "hidden": 32, "blocks": 1, "encoder": {"width": 2}})
    assert all(not layer.bias.any() for layer in codec.encoder.modules() if isinstance(layer, nn.Conv1d) and layer.bias is not None)
    assert float(codec.decoder.embed.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
