"""The distance of compressed spectra against plain NumPy. Run: pytest tests/train/losses/test_compressed_stft.py"""

import numpy as np
import pytest
import scipy.signal
import torch
from loss_cases import loss, waves
from tokenzoo.train.losses.base import LossInputs


def spectra(x, n, hop):
    """Centred, reflected, under a periodic Hann window of sum 1: complex `[B, N, F]`."""
    padded = np.pad(x[:, 0], ((0, 0), (n // 2, n // 2)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n, axis=1)[:, ::hop]
    window = scipy.signal.get_window("hann", n)
    return np.fft.rfft(frames * window / window.sum(), axis=-1)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_magnitudes_and_phases_are_mixed(alpha):
    """Equation 9 of Braun & Tashev 2020, summed over windows."""
    x, y = waves()
    expected = 0.0
    for n in (256, 64):
        a, b = spectra(x, n, n // 2), spectra(y, n, n // 2)
        a, b = (np.abs(s) ** 0.4 * np.exp(1j * np.angle(s)) for s in (a, b))
        expected += (1 - alpha) * ((np.abs(a) - np.abs(b)) ** 2).mean() + alpha * (np.abs(a - b) ** 2).mean()
    module = loss("compressed_stft", windows=(256, 64), hop_ratio=0.5, exponent=0.4, alpha=alpha, floor=1e-9)
    value = module(LossInputs(x=torch.as_tensor(x).float(), x_hat=torch.as_tensor(y).float(), out=None))
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_below_the_floor_spectra_count_in_proportion():
    """Silence and a hum below the floor: compression ends there, so that the root has no infinite slope."""
    floor, t = 1e-2, np.arange(4096)
    hum = 1e-4 * np.cos(2 * np.pi * t / 16)[None, None]
    s = spectra(hum, 64, 16)
    assert np.abs(s).max() < floor
    module = loss("compressed_stft", windows=(64,), exponent=0.5, alpha=1.0, floor=floor)
    value = module(LossInputs(x=torch.zeros(1, 1, 4096), x_hat=torch.as_tensor(hum).float(), out=None))
    assert float(value) == pytest.approx((np.abs(s) ** 2).mean() / floor, rel=1e-3)


def test_gradients_in_silence_are_finite():
    x_hat = torch.zeros(1, 1, 4000, requires_grad=True)
    loss("compressed_stft")(LossInputs(x=torch.zeros(1, 1, 4000), x_hat=x_hat, out=None)).backward()
    assert torch.isfinite(x_hat.grad).all()
