"""Alias-free activations against SciPy. Run: pytest tests/codecs/layers/test_alias_free.py"""

import numpy as np
import pytest
import scipy.signal
import torch
from tokenzoo.codecs.kernels.snake import Snake
from tokenzoo.codecs.layers.alias_free import AliasFree, low_pass_filter
from torch import nn


@pytest.mark.parametrize("taps", [12, 8])
def test_the_filter_is_a_kaiser_windowed_sinc(taps):
    beta = scipy.signal.kaiser_beta(2.285 * (taps // 2 - 1) * np.pi * 4 * 0.3 + 7.95)
    expected = scipy.signal.firwin(taps, 0.5, window=("kaiser", beta), fs=2)
    np.testing.assert_allclose(low_pass_filter(0.25, 0.3, taps), expected, atol=1e-6)


def test_alias_free_works_at_twice_the_rate():
    x = np.random.default_rng(0).normal(0, 2, (1, 1, 50))
    layer = AliasFree(Snake(1)).double()
    nn.init.uniform_(layer.activation.alpha, 0.3, 3.0)
    taps, alpha = layer.taps.double().numpy(), layer.activation.alpha.item()
    up = scipy.signal.upfirdn(2 * taps, np.pad(x[0, 0], 5, mode="edge"), up=2)[15:-15]
    up = up + np.sin(alpha * up) ** 2 / alpha
    down = np.convolve(np.pad(up, (5, 6), mode="edge"), taps[::-1], mode="valid")[::2]
    np.testing.assert_allclose(layer(torch.from_numpy(x))[0, 0].detach(), down, atol=1e-7)


def test_alias_free_adds_no_overtones_above_half_the_rate():
    """A tone at 0.2 cycles a sample: its third harmonic would come back at 0.4 from a plain activation."""
    x = np.sin(2 * np.pi * 0.2 * np.arange(400))
    plain, filtered = x**3, AliasFree(Cube())(torch.from_numpy(x)[None, None].float())[0, 0].numpy()

    def alias(y: np.ndarray) -> float:
        return float(np.abs(np.fft.rfft(y[50:350] * np.hanning(300)))[120])

    assert alias(filtered) < 0.25 * alias(plain)


class Cube(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**3
