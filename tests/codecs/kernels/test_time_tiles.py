"""Encoders and decoders in tiles equal themselves whole, for every length, and in streams.

pytest tests/codecs/kernels/test_time_tiles.py
"""

from collections.abc import Callable

import pytest
import torch
from tokenzoo.codecs.audio.dac.model import DACDecoder, DACEncoder
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.kernels import time_tiles
from tokenzoo.codecs.kernels.stream import State
from tokenzoo.codecs.layers.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from torch import Tensor, nn

SEANETS = {
    "causal": {"causal": True},
    "mimi": {"causal": True, "padding": "constant", "identity_skip": True, "lstm_layers": 0},
    "replicate": {"causal": True, "padding": "replicate", "residual_layers": 2},
    "centred": {"residual_layers": 2},
    "speechtokenizer": {"lstm_bidirectional": True, "kernel_size": 5, "strides": (2, 3)},
}


@pytest.fixture
def tiled(monkeypatch) -> Callable[[int], list[int]]:
    """Sets the size of a tile; the list it returns fills up with the number of tiles wherever there are several."""

    def set_tile(size: int) -> list[int]:
        counts: list[int] = []

        def counting(parts: list[Tensor]) -> Tensor:
            counts.append(len(parts))
            return real(parts)

        monkeypatch.setattr(time_tiles, "TILE", size)
        monkeypatch.setattr(time_tiles, "join", counting)
        return counts

    real = time_tiles.join
    monkeypatch.setattr(time_tiles, "_weights", lambda level: 0)
    return set_tile


def equal_in_tiles(net: nn.Module, inputs: list[Tensor], tiled: Callable[[int], list[int]]) -> None:
    """Whole and in tiles of several sizes, the smallest of which must have cut every input."""
    with torch.no_grad():
        for x in inputs:
            assert not tiled(1 << 20)
            whole = net(x)
            for size in (64, 300, 1000):
                counts = tiled(size)
                torch.testing.assert_close(net(x), whole, atol=2e-5, rtol=1e-4)
                assert size > 64 or max(counts) > 1


@pytest.mark.parametrize("name", SEANETS)
def test_seanet(name, tiled):
    config = SEANetConfig(**{"width": 4, "latent_dim": 6, "strides": (2, 4), **SEANETS[name]})
    hop = config.hop_samples
    encoder = SEANetEncoder(config)
    equal_in_tiles(encoder, [torch.randn(b, 1, t) for b in (1, 2) for t in range(10 * hop, 12 * hop + 1)], tiled)
    if not config.lstm_bidirectional:
        equal_in_tiles(SEANetDecoder(config), [torch.randn(b, 6, t) for b in (1, 2) for t in range(9, 14)], tiled)


@pytest.mark.parametrize("strides", [(2, 4), (3, 2), (5,)])
def test_dac(strides, tiled):
    hop = torch.tensor(strides).prod().item()
    encoder = DACEncoder(4, strides, 6)
    equal_in_tiles(encoder, [torch.randn(b, 1, hop * n) for b in (1, 2) for n in range(20, 24)], tiled)
    for whole in (True, False):
        decoder = DACDecoder(6, 8, strides[::-1], whole=whole)
        equal_in_tiles(decoder, [torch.randn(b, 6, n) for b in (1, 2) for n in range(20, 24)], tiled)


@pytest.mark.parametrize("causal", [True, False])
def test_waveform(causal, tiled):
    config = {"width": 4, "strides": [2, 4], "latent_dim": 6, "dilations": [1, 3], "causal": causal}
    tokenizer = build_tokenizer("waveform", config).eval()
    equal_in_tiles(_Encode(tokenizer), [torch.randn(2, 1, t) for t in range(160, 170)], tiled)
    equal_in_tiles(_Decode(tokenizer), [torch.randn(2, 6, n) for n in (20, 21)], tiled)


def test_snac_with_noise(tiled):
    config = {"encoder_width": 4, "strides": [2, 3], "decoder_width": 16, "decoder_strides": [3, 2], "noise": True}
    quantizer = {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 8, "strides": [2, 1]}
    tokenizer = build_tokenizer("snac", {**config, "quantizer": quantizer}).eval()
    noise = tokenizer.draw_noise(20, batch=2)
    decode = _Decode(tokenizer, noise=noise)
    with torch.no_grad():
        z = torch.randn(2, tokenizer.config.dim, 20)
        assert not torch.allclose(decode(z), tokenizer.decode_latents(z), atol=1e-3)
    equal_in_tiles(decode, [z], tiled)
    equal_in_tiles(_Encode(tokenizer), [torch.randn(2, 1, t) for t in range(120, 126)], tiled)


class _Encode(nn.Module):
    def __init__(self, tokenizer: nn.Module) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, x: Tensor) -> Tensor:
        return self.tokenizer.encode_latents(x)


class _Decode(nn.Module):
    def __init__(self, tokenizer: nn.Module, **options: object) -> None:
        super().__init__()
        self.tokenizer, self.options = tokenizer, options

    def forward(self, z: Tensor) -> Tensor:
        return self.tokenizer.decode_latents(z, **self.options)


def test_tiles_are_as_large_as_the_widest_activation_allows(tiled):
    """Of 1000 values: 248 of 4 channels, in whole steps of the hop of 8; 31 of frames that become 4 times 8 channels."""
    config = SEANetConfig(width=4, latent_dim=6, strides=(2, 4), lstm_layers=0)
    encoder, decoder, counts = SEANetEncoder(config), SEANetDecoder(config), tiled(1000)
    with torch.no_grad():
        encoder(torch.randn(1, 1, 1600))
        assert counts == [-(-1600 // 248)]
        counts.clear()
        decoder(torch.randn(1, 6, 200))
        assert counts == [-(-200 // 31)]


def test_tiles_within_a_stream(tiled):
    """A stream's pieces are tiled too, and the stream goes on after them."""
    config = SEANetConfig(width=4, latent_dim=6, strides=(2, 4), causal=True)
    encoder, x = SEANetEncoder(config), torch.randn(1, 1, 8 * 60 + 3)
    with torch.no_grad():
        whole, counts, state, out = encoder(x), tiled(64), State(), []
        for part in x.split(8 * 20, dim=-1):
            state.ending = part.shape[-1] < 8 * 20
            out.append(encoder(part, state))
    assert max(counts) > 1
    torch.testing.assert_close(torch.cat(out, -1), whole, atol=2e-5, rtol=1e-4)


def test_with_gradients_nothing_is_tiled(tiled):
    encoder, counts = SEANetEncoder(SEANetConfig(width=4, strides=(2, 4))), tiled(64)
    encoder(torch.randn(1, 1, 200)).sum().backward()
    assert not counts and all(p.grad is not None for p in encoder.parameters())


def test_normalised_over_time_is_never_tiled(tiled):
    config = SEANetConfig(width=4, strides=(2, 4), norm="group")
    encoder, decoder, counts = SEANetEncoder(config), SEANetDecoder(config), tiled(64)
    with torch.no_grad():
        decoder(encoder(torch.randn(1, 1, 400)))
    assert not counts
