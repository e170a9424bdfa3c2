"""The distance of loudness beside PESQ itself, where damage keeps its time. Run: pytest tests/train/losses/test_loudness.py"""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from loss_cases import IMAGE, descend, inputs, loss, silent_gradients
from speech_cases import RATE, damaged, speech_like
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.spec import AudioSpec

SPEECH = AudioSpec(vocab_sizes=(16,), sample_rate_hz=RATE, hop_samples=80)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Eight seconds `[T]` like speech."""
    return speech_like()


def value(x: np.ndarray, y: np.ndarray, **options: float) -> float:
    return loss("loudness", SPEECH, **options)(inputs(x[None, None], y[None, None])).item()


def score(value: float) -> float:
    """PESQ-WB, as the config's docstring has it."""
    return 0.999 + 4 / (1 + math.exp(1.3669 * value - 2.3287))


@pytest.mark.parametrize(
    ("kind", "strength"), [("noise", 70), ("noise", 55), ("dull", 6000), ("dull", 2500), ("blurred", 0.2), ("blurred", 0.5)]
)
def test_it_is_pesq(clip, kind, strength):
    pesq = pytest.importorskip("pesq")
    worse = damaged(clip, kind, strength)
    assert score(value(clip, worse)) == pytest.approx(pesq.pesq(RATE, clip, worse, "wb"), abs=0.2)


def test_no_difference_is_no_loss_and_the_level_does_not_count(clip):
    worse = damaged(clip, "blurred", 0.5)
    assert value(clip, clip) < 1e-6 and value(clip, 0.2 * clip) < 1e-4
    assert value(clip, 0.2 * worse) == pytest.approx(value(clip, worse), rel=1e-3)


def test_what_is_added_counts_more_than_what_is_missing(clip):
    dull, other = damaged(clip, "dull", 3000), {"symmetric_weight": 0.0, "asymmetric_weight": 1.0}
    assert value(dull, clip, **other) > 5 * value(clip, dull, **other)


def test_clips_of_other_rates_are_resampled(clip):
    worse = damaged(clip, "blurred", 0.5)
    x, y = (scipy.signal.resample_poly(v, 3, 2)[None, None] for v in (clip, worse))
    faster = loss("loudness", AudioSpec(vocab_sizes=(16,), sample_rate_hz=24_000, hop_samples=80))(inputs(x, y)).item()
    assert faster == pytest.approx(value(clip, worse), rel=0.03)


def test_descent_finds_the_clip(clip):
    x, y = (v[None, None, 16000:32000] for v in (clip, damaged(clip, "blurred", 0.5)))
    first, last = descend(loss("loudness", SPEECH), x, y)
    assert last < 0.5 * first


@pytest.mark.parametrize("samples", [512, 700, 16000])
def test_silence_and_short_clips_have_finite_gradients(samples):
    for gradient in silent_gradients(loss("loudness", SPEECH), samples):
        assert torch.isfinite(gradient).all()


def test_what_it_does_not_take():
    with pytest.raises(ConfigError, match="'loudness' needs an audio tokenizer"):
        loss("loudness", IMAGE)
    with pytest.raises(ValueError, match="512"):
        loss("loudness", SPEECH)(inputs(torch.randn(1, 1, 400), torch.randn(1, 1, 400)))
