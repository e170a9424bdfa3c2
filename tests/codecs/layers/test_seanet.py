"""What SEANet's settings promise of its encoder and decoder. Run: pytest tests/codecs/layers/test_seanet.py"""

import pytest
import torch
from layer_references import randomised
from tokenzoo.codecs.layers.causal import State
from tokenzoo.codecs.layers.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder, stream_latency
from torch import nn

SMALL = {"width": 2, "strides": (2, 3), "latent_dim": 4, "lstm_layers": 1}


def sides(**options) -> tuple[nn.Module, nn.Module]:
    config = SEANetConfig(**{**SMALL, **options})
    return randomised(SEANetEncoder(config)), randomised(SEANetDecoder(config))


@pytest.mark.parametrize("length", [1, 5, 6, 7, 40])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"norm": "group"}, {"padding": "constant"}, {"padding": "replicate"}])
def test_a_frame_for_every_begun_hop_and_a_hop_for_every_frame(options, length):
    encoder, decoder = sides(**options)
    with torch.no_grad():
        z = encoder(torch.randn(2, 1, length, dtype=torch.float64))
        assert z.shape == (2, 4, -(-length // 6))
        assert decoder(z).shape == (2, 1, 6 * z.shape[2])


def reach(layer: nn.Module, x: torch.Tensor, at: int) -> list[int]:
    """Positions of the output that a change of `x` at one position moves."""
    y = x.clone()
    y[..., at] += 1
    with torch.no_grad():
        return (layer(x) - layer(y)).abs().amax(1)[0].gt(1e-12).nonzero().flatten().tolist()


def test_causal_layers_see_no_later_samples():
    encoder, decoder = sides(causal=True, padding="constant")
    frames = reach(encoder, torch.randn(1, 1, 60, dtype=torch.float64), 30)
    samples = reach(decoder, torch.randn(1, 4, 10, dtype=torch.float64), 5)
    assert frames[0] == 5 and frames[-1] == 9, "the LSTM carries it on to the end"
    assert samples[0] == 30 and samples[-1] == 59
    assert reach(sides()[0], torch.randn(1, 1, 60, dtype=torch.float64), 30)[0] < 5


def test_without_an_lstm_the_reach_ends():
    encoder, _ = sides(causal=True, padding="constant", lstm_layers=0)
    assert reach(encoder, torch.randn(1, 1, 120, dtype=torch.float64), 30)[-1] < 19


@pytest.mark.parametrize("padding", ["constant", "replicate", "reflect"])
def test_a_stream_equals_the_whole_and_waits_as_long_as_it_says(padding):
    config = SEANetConfig(**SMALL, causal=True, padding=padding)
    encoder, decoder = randomised(SEANetEncoder(config)), randomised(SEANetDecoder(config))
    x = torch.randn(1, 1, 60, dtype=torch.float64)
    with torch.no_grad():
        states, decoded, first = (State(), State()), [], None
        for at in range(10):
            states[0].ending = states[1].ending = at == 9
            decoded.append(decoder(encoder(x[..., 6 * at : 6 * at + 6], states[0]), states[1]))
            if first is None and decoded[-1].shape[-1]:
                first = 6 * at + 5
        torch.testing.assert_close(torch.cat(decoded, dim=-1), decoder(encoder(x)))
    assert first == stream_latency(encoder, decoder, 6)


def test_settings_that_contradict_each_other_are_refused():
    for options, match in (
        ({"causal": True, "norm": "group"}, "averages over the whole signal"),
        ({"causal": True, "lstm_bidirectional": True}, "depends on later frames"),
        ({"strides": ()}, "at least one positive"),
        ({"trim_right": 0.5}, "only with causal = true"),
    ):
        with pytest.raises(ValueError, match=match):
            SEANetConfig(**options)
