"""Activations as one compiled pass equal the eager ones, whatever their layout; nothing else changes.

pytest tests/codecs/kernels/test_fused.py
"""

import copy

import pytest
import torch
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.kernels import fused
from tokenzoo.codecs.kernels.conv1d import time_major
from tokenzoo.codecs.kernels.elu import ELU
from tokenzoo.codecs.kernels.fused import fuse
from tokenzoo.codecs.kernels.snake import Snake, SnakeBeta

SMALL = {"width": 8, "strides": [2, 4], "latent_dim": 8, "dilations": [1, 3]}


@pytest.fixture
def ran(monkeypatch) -> list:
    """Collects what runs fused, at any size."""
    calls, real = [], fused._compiled
    monkeypatch.setattr(fused, "_LEAST", 1)
    monkeypatch.setattr(fused, "_compiled", lambda function: calls.append(function) or real(function))
    return calls


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Its parameters away from where they start, which is the same for all channels."""
    for p in module.parameters():
        p.data.uniform_(0.3, 1.5)
    return module


@pytest.mark.parametrize("make", [lambda: ELU(), lambda: Snake(6), lambda: SnakeBeta(6)], ids=["elu", "snake", "snake_beta"])
def test_equals_eager(make, ran):
    eager = shaken(make())
    quick = copy.deepcopy(eager)
    assert fuse(quick) == 1 and not eager.fused
    with torch.no_grad():
        for batch, steps in ((1, 50), (2, 50), (3, 7), (2, 1)):
            x = torch.randn(batch, 6, steps) * 10 ** torch.empty(1, 6, 1).uniform_(-6, 1)  # quiet channels and loud ones
            for laid in (x, time_major(x)):
                before = laid.clone()
                torch.testing.assert_close(quick(laid), eager(laid), atol=0, rtol=2e-6)
                assert torch.equal(laid, before)
    assert len(ran) == 8


def test_gradients_go_the_eager_way(ran):
    layer = Snake(6)
    fuse(layer)
    layer(torch.randn(1, 6, 9)).sum().backward()
    assert layer.alpha.grad is not None and not ran


@pytest.mark.parametrize("activation", ["elu", "snake"])
def test_compiled_tokenizer_gives_the_same(activation, ran):
    tokenizer = build_tokenizer("waveform", {**SMALL, "activation": activation}).eval()
    quick = copy.deepcopy(tokenizer)
    assert quick.compile() is quick
    for samples in (800, 801, 333):
        x = 0.3 * torch.randn(2, 1, samples)
        ran.clear()
        tokens = quick.encode(x)
        assert len(ran) == sum(isinstance(m, fused.Fusable) for m in quick.encoder.modules())
        assert torch.equal(tokens.ids, tokenizer.encode(x).ids)
        torch.testing.assert_close(quick.decode(tokens), tokenizer.decode(tokens), atol=1e-5, rtol=1e-4)
