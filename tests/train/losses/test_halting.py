"""The loss of halting against plain NumPy. Run: pytest tests/train/losses/test_halting.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, inputs, loss


def test_halting_weighs_both_sides_alike():
    rng = np.random.default_rng(8)
    logits, target = rng.normal(size=(2, 9)), np.zeros((2, 9))
    target[:, 7:] = 1
    features = {"halting.0": logits, "halting.1": logits, "unneeded.0": np.zeros((2, 9)), "unneeded.1": target}
    out = SimpleNamespace(features={k: torch.tensor(v) for k, v in features.items()})
    needed, not_needed = np.log1p(np.exp(logits)), np.log1p(np.exp(-logits))  # -log of the probability to be kept, to halt
    expected = needed.mean() + needed[:, :7].mean() + not_needed[:, 7:].mean()
    assert float(loss("halting", IMAGE)(inputs([0], [0], out=out))) == pytest.approx(expected, rel=1e-5)
