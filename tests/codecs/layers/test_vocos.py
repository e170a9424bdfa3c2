"""Vocos' spectrum head and norms against plain NumPy. Run: pytest tests/codecs/layers/test_vocos.py"""

import numpy as np
import torch
from layer_references import attend, layer_norm, linear, randomised, weights
from tokenzoo.codecs.layers.vocos import ConditionedNorm, FourierHead, FrameAttention, make_norm


def test_the_head_adds_up_windowed_frames():
    head = randomised(FourierHead(6, window_samples=12, hop_samples=4))
    x, w = np.random.default_rng(0).normal(size=(2, 5, 6)), weights(head)
    magnitude, angle = np.split(linear(x, w["out.weight"], w["out.bias"]), 2, axis=-1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(12) / 12)
    frames = np.fft.irfft(np.exp(magnitude) * np.exp(1j * angle), n=12) * window
    total, envelope = np.zeros((2, 4 * 4 + 12)), np.zeros(4 * 4 + 12)
    for i in range(5):
        total[:, 4 * i : 4 * i + 12] += frames[:, i]
        envelope[4 * i : 4 * i + 12] += window**2
    with torch.no_grad():
        found = head(torch.from_numpy(x))
    np.testing.assert_allclose(found, (total / np.maximum(envelope, 1e-6))[:, 4:24], rtol=1e-4, atol=1e-4)


def test_magnitudes_end_at_a_hundred():
    head = randomised(FourierHead(6, window_samples=12, hop_samples=4))
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.zero_()
        head.out.bias[:7] = 50.0
        assert float(head(torch.zeros(1, 8, 6, dtype=torch.float64)).abs().max()) < 1000


def test_a_norm_for_each_condition():
    norm = randomised(ConditionedNorm(6, 3))
    x, w = np.random.default_rng(0).normal(size=(2, 5, 6)), weights(norm)
    for condition in range(3):
        found = norm(torch.from_numpy(x), condition).detach()
        np.testing.assert_allclose(found, layer_norm(x, w["scale"][condition], w["shift"][condition], 1e-6))
    plain = make_norm(6, 0).double()
    np.testing.assert_allclose(plain(torch.from_numpy(x), 2).detach(), layer_norm(x, eps=1e-6))


def test_attention_of_one_head_over_all_frames():
    block = randomised(FrameAttention(8, groups=2))
    x, w = np.random.default_rng(0).normal(size=(2, 8, 5)), weights(block)
    grouped = x.reshape(2, 2, -1)
    y = ((grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-6)).reshape(x.shape)
    y = (y * w["norm.weight"][:, None] + w["norm.bias"][:, None]).transpose(0, 2, 1)
    q, k, v = (linear(y, w[f"{n}.weight"][..., 0], w[f"{n}.bias"]) for n in "qkv")
    out = linear(attend(q, k, v), w["out.weight"][..., 0], w["out.bias"])
    np.testing.assert_allclose(block(torch.from_numpy(x)).detach(), x + out.transpose(0, 2, 1), atol=1e-10)
