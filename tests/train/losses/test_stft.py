"""The distance of spectra against plain NumPy. Run: pytest tests/train/losses/test_stft.py"""

import numpy as np
import pytest
import torch
from loss_cases import inputs, loss, magnitudes, waves
from tokenzoo.train.losses.base import LossInputs


def test_stft_terms():
    x, y = waves()
    expected = 0.0
    for n in (512, 128):
        a, b = magnitudes(x, n, n // 4), magnitudes(y, n, n // 4)
        logs = np.abs(np.log(np.maximum(a, 1e-4)) - np.log(np.maximum(b, 1e-4))).mean()
        gap = np.sqrt(((a - b) ** 2).sum((1, 2)) / (a**2).sum((1, 2))).mean()
        expected += 2 * np.abs(a - b).mean() + 3 * logs + 4 * gap
    options = {"magnitude_weight": 2, "log_weight": 3, "convergence_weight": 4, "log_base": "e", "floor": 1e-4}
    assert float(loss("stft", windows=(512, 128), **options)(inputs(x, y))) == pytest.approx(expected, rel=1e-4)


def test_gradients_in_silence_are_finite():
    x_hat = torch.zeros(1, 1, 4000, requires_grad=True)
    loss("stft")(LossInputs(x=torch.zeros(1, 1, 4000), x_hat=x_hat, out=None)).backward()
    assert torch.isfinite(x_hat.grad).all()
