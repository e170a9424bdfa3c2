"""Cross-entropy of maps of classes and of masks against plain NumPy. Run: pytest tests/train/losses/test_cross_entropy.py"""

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, loss, nll
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.spec import LatentSpec, MapSpec
from tokenzoo.train.losses.base import LossInputs

CLASSES = MapSpec(vocab_sizes=(16,), channels=1, stride=4, classes=7)
MASKS = MapSpec(vocab_sizes=(16,), channels=1, stride=4)


def test_classes():
    rng = np.random.default_rng(0)
    scores, classes = 3 * rng.normal(size=(2, 7, 4, 5)), rng.integers(7, size=(2, 4, 5))
    found = loss("cross_entropy", CLASSES)(LossInputs(x=torch.tensor(classes), x_hat=torch.tensor(scores), out=None))
    assert float(found) == pytest.approx(nll(scores.reshape(2, 7, 20), classes.reshape(2, 20)), rel=1e-5)


def test_masks():
    """Soft edges count in proportion, and a certain right answer costs next to nothing."""
    rng = np.random.default_rng(1)
    logits, mask = 3 * rng.normal(size=(2, 1, 4, 5)), rng.random((2, 1, 4, 5))
    binary = loss("cross_entropy", MASKS)
    share = 1 / (1 + np.exp(-logits))
    plain = -(mask * np.log(share) + (1 - mask) * np.log(1 - share)).mean()
    assert float(binary(LossInputs(x=torch.tensor(mask), x_hat=torch.tensor(logits), out=None))) == pytest.approx(plain, rel=1e-5)
    sure = torch.tensor(mask > 0.5).double()
    assert float(binary(LossInputs(x=sure, x_hat=40 * sure - 20, out=None))) < 1e-6
    with pytest.raises(ConfigError, match=r"values in 0\.\.1"):
        binary(LossInputs(x=2 * sure, x_hat=sure, out=None))


@pytest.mark.parametrize("spec", [IMAGE, LatentSpec(vocab_sizes=(16,), channels=1)])
def test_other_media_are_refused(spec):
    with pytest.raises(ConfigError, match="maps of classes and masks"):
        loss("cross_entropy", spec)
