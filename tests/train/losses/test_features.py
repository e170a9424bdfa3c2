"""Distances of features against plain NumPy. Run: pytest tests/train/losses/test_features.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, inputs, loss, loss_of
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.spec import LatentSpec

FEATURES = LatentSpec(vocab_sizes=(16,), channels=5)


def pairs():
    """Maps `[2, 5, 3, 4]` and others, whose differences lie on both sides of 1."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 5, 3, 4)), rng.normal(size=(2, 5, 3, 4))


def smooth(x, y):
    gap = np.abs(x - y)
    assert (gap < 1).any() and (gap > 1).any()
    return np.where(gap < 1, gap**2 / 2, gap - 0.5).mean()


@pytest.mark.parametrize(
    ("distance", "plain"),
    [
        ("l1", lambda x, y: np.abs(x - y).mean()),
        ("l2", lambda x, y: ((x - y) ** 2).mean()),
        ("smooth_l1", smooth),
        ("cosine", lambda x, y: 1 - ((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).mean()),
    ],
)
def test_equals_plain_reference(distance, plain):
    x, y = pairs()
    assert float(loss("features", FEATURES, distance=distance)(inputs(x, y))) == pytest.approx(plain(x, y), rel=1e-5)


def test_pictures_and_sound_are_refused():
    with pytest.raises(ConfigError, match="modality is 'image'"):
        loss("features", IMAGE)


def test_l1_and_smooth_l1_of_a_teacher_and_of_own_features():
    x, y = pairs()
    x, y = x.reshape(2, 5, 12), y.reshape(2, 5, 12)
    assert float(loss_of(torch.tensor(x), torch.tensor(y), along="smooth_l1")) == pytest.approx(smooth(x, y), rel=1e-5)
    out = SimpleNamespace(features={"prediction": torch.tensor(x), "prediction_target": torch.tensor(y)})
    own = loss("own_feature", IMAGE, feature="prediction", target="prediction_target", along="smooth_l1")
    assert float(own(inputs([0], [0], out=out))) == pytest.approx(smooth(x, y), rel=1e-5)
    plain = loss("own_feature", IMAGE, feature="prediction", target="prediction_target", along="l1")
    assert float(plain(inputs([0], [0], out=out))) == pytest.approx(abs(x - y).mean(), rel=1e-5)
