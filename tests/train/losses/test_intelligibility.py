"""The loss beside STOI of the package pystoi. Run: pytest tests/train/losses/test_intelligibility.py"""

import numpy as np
import pytest
import scipy.signal
import torch
from loss_cases import IMAGE, descend, inputs, loss, silent_gradients
from speech_cases import RATE, damaged, speech_like
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.spec import AudioSpec

SPEECH = AudioSpec(vocab_sizes=(16,), sample_rate_hz=RATE, hop_samples=80)
DAMAGE = [("noise", 30), ("noise", 10), ("dull", 2500), ("dull", 900), ("blurred", 0.3), ("blurred", 1.5)]


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Eight seconds `[T]` like speech, of which one is silent."""
    x = speech_like()
    x[40_000:56_000] *= 1e-4
    return x


def value(x: np.ndarray, y: np.ndarray) -> float:
    return loss("intelligibility", SPEECH)(inputs(x[None, None], y[None, None])).item()


@pytest.mark.parametrize(("kind", "strength"), DAMAGE)
def test_it_is_stoi(clip, kind, strength):
    pystoi = pytest.importorskip("pystoi")
    worse = damaged(clip, kind, strength)
    expected = pystoi.stoi(clip, worse, RATE)
    assert expected < 0.995 and 1 - value(clip, worse) == pytest.approx(expected, abs=0.01)


def test_no_difference_is_no_loss_and_the_level_does_not_count(clip):
    worse = damaged(clip, "blurred", 1.0)
    assert abs(value(clip, clip)) < 1e-5 and abs(value(clip, 0.2 * clip)) < 1e-5
    assert value(clip, 0.2 * worse) == pytest.approx(value(clip, worse), rel=1e-3)


def test_frames_that_are_silent_in_the_original_do_not_count(clip):
    worse = clip.copy()
    worse[41_000:55_000] += 0.05 * np.random.default_rng(0).standard_normal(14_000).astype(np.float32)
    assert value(clip, worse) < 0.01 < value(worse, clip)


def test_clips_of_other_rates_are_resampled(clip):
    worse = damaged(clip, "blurred", 1.0)
    x, y = (scipy.signal.resample_poly(v, 3, 2)[None, None] for v in (clip, worse))
    faster = loss("intelligibility", AudioSpec(vocab_sizes=(16,), sample_rate_hz=24_000, hop_samples=80))(inputs(x, y)).item()
    assert faster == pytest.approx(value(clip, worse), rel=0.02)


def test_a_batch_is_the_mean_of_the_clips_for_which_it_is_defined(clip):
    one, two = clip[:16_000], clip[16_000:32_000]
    worse = [damaged(v, "blurred", 1.0) for v in (one, two)]
    silent = np.zeros_like(one)
    x, y = (np.stack(clips)[:, None] for clips in ([one, silent, two], [worse[0], one, worse[1]]))
    together = loss("intelligibility", SPEECH)(inputs(x, y))
    assert together.item() == pytest.approx((value(one, worse[0]) + value(two, worse[1])) / 2, rel=1e-3)


def test_descent_brings_the_envelopes_back(clip):
    x, y = (v[None, None, 16000:32000] for v in (clip, damaged(clip, "blurred", 1.5)))
    first, last = descend(loss("intelligibility", SPEECH), x, y)
    assert last < 0.5 * first


@pytest.mark.parametrize("samples", [6400, 16000])
def test_silence_and_short_clips_have_finite_gradients(samples):
    for gradient in silent_gradients(loss("intelligibility", SPEECH), samples):
        assert torch.isfinite(gradient).all()


def test_what_it_does_not_take():
    with pytest.raises(ConfigError, match="'intelligibility' needs an audio tokenizer"):
        loss("intelligibility", IMAGE)
    with pytest.raises(ValueError, match="3968"):
        loss("intelligibility", SPEECH)(inputs(torch.randn(1, 1, 6000), torch.randn(1, 1, 6000)))
