"""The distance of mel spectra against plain NumPy. Run: pytest tests/train/losses/test_mel.py"""

import numpy as np
import pytest
import torch
from loss_cases import inputs, loss, magnitudes, waves
from tokenzoo.train.losses.base import LossInputs


def slaney_filters(bins, bands, rate):
    """Slaney's mel scale: linear below 1 kHz, logarithmic above; triangles of equal area."""

    def to_mel(hz):
        return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1e-9) / 1000) / np.log(6.4))

    def to_hz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))

    edges = to_hz(np.linspace(0, to_mel(np.array(rate / 2)), bands + 2))
    hz = np.linspace(0, rate / 2, bins)
    rise = (hz[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hz[None]) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]


def test_mel_with_dacs_settings():
    x, y = waves()
    expected = 0.0
    for n, bands in zip((32, 64, 128, 256, 512, 1024, 2048), (5, 10, 20, 40, 80, 160, 320)):
        filters = slaney_filters(n // 2 + 1, bands, 16000)
        a, b = (np.log10(np.maximum(filters @ magnitudes(v, n, n // 4), 1e-5)) for v in (x, y))
        expected += np.abs(a - b).mean()
    assert float(loss("mel")(inputs(x, y))) == pytest.approx(expected, rel=1e-3)


def test_mel_power_and_plain_term():
    x, y = waves()
    filters = slaney_filters(257, 40, 16000)
    a, b = (filters @ magnitudes(v, 512, 256) ** 2 for v in (x, y))
    options = {"hop_ratio": 0.5, "power": 2, "log_weight": 0, "magnitude_weight": 1, "distance": "l2"}
    value = loss("mel", windows=(512,), bands=(40,), **options)(inputs(x, y))
    assert float(value) == pytest.approx(((a - b) ** 2).mean(), rel=1e-3)


def test_gradients_in_silence_are_finite():
    x_hat = torch.zeros(1, 1, 4000, requires_grad=True)
    loss("mel")(LossInputs(x=torch.zeros(1, 1, 4000), x_hat=x_hat, out=None)).backward()
    assert torch.isfinite(x_hat.grad).all()
