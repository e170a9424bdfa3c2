"""Short-time spectra against NumPy, and what synthesis gives back. Run: pytest tests/codecs/layers/test_stft.py"""

import numpy as np
import pytest
import torch
from tokenzoo.codecs.layers.stft import STFT

W, HOP = 16, 4


def clip(frames: int = 12) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, frames * HOP)).astype(np.float32)


def spectra(x: np.ndarray, before: int) -> np.ndarray:
    """Frames of W samples, the first of which begins `before` samples before the clip; zeros beyond its ends."""
    x = np.pad(x.astype(np.float64), ((0, 0), (before, W - HOP - before)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(W) / W)
    frames = np.stack([x[:, at : at + W] * window for at in range(0, x.shape[1] - W + 1, HOP)], axis=1)
    return np.fft.rfft(frames)


@pytest.mark.parametrize(("causal", "before"), [(False, (W - HOP) // 2), (True, W - HOP)])
def test_a_frame_lies_around_its_hop_or_ends_with_it(causal, before):
    x = clip()
    found = STFT(window_samples=W, hop_samples=HOP, causal=causal).analyse(torch.from_numpy(x))
    np.testing.assert_allclose(found, spectra(x, before), atol=1e-5)


def test_centred_synthesis_undoes_analysis():
    x, stft = torch.from_numpy(clip()), STFT(window_samples=W, hop_samples=HOP, causal=False)
    torch.testing.assert_close(stft.synthesise(stft.analyse(x)), x, atol=1e-5, rtol=0)


def test_causal_synthesis_gives_the_clip_later():
    """A frame ends with its hop, and its sound begins with it: all comes W - hop samples later."""
    x, stft = torch.from_numpy(clip()), STFT(window_samples=W, hop_samples=HOP, causal=True)
    late = stft.synthesise(stft.analyse(x))
    torch.testing.assert_close(late[:, W - HOP :], x[:, : -(W - HOP)], atol=1e-5, rtol=0)
    torch.testing.assert_close(late[:, : W - HOP], torch.zeros(2, W - HOP), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_left_at_the_door(dtype):
    x, stft = torch.from_numpy(clip()).to(dtype), STFT(window_samples=W, hop_samples=HOP, causal=False)
    narrow = STFT(window_samples=W, hop_samples=HOP, causal=False).to(dtype)
    assert torch.equal(narrow.analyse(x), stft.analyse(x.float()))


def test_windows_that_leave_gaps_are_refused():
    with pytest.raises(ValueError, match="at least two hops"):
        STFT(window_samples=7, hop_samples=4, causal=False)
    with pytest.raises(ValueError, match="two whole hops"):
        STFT(window_samples=10, hop_samples=4, causal=True)
