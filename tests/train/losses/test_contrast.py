"""The contrastive loss against plain NumPy. Run: pytest tests/train/losses/test_contrast.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, inputs, loss, nll


def test_contrast():
    rng = np.random.default_rng(9)
    ours, theirs = rng.normal(size=(4, 3, 5)), rng.normal(size=(4, 3, 9))
    a, b = ours.mean(2), theirs.mean(2)
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    alike, own = 10 * a @ b.T, np.arange(4)
    expected = (nll(alike[..., None], own[:, None]) + nll(alike.T[..., None], own[:, None])) / 2
    out = SimpleNamespace(features={"branch.1": torch.tensor(ours)})
    module = loss("contrast", IMAGE, teacher="t", feature="branch.1", scale=10.0)
    assert float(module(inputs([0], [0], out=out, targets={"t": torch.tensor(theirs)}))) == pytest.approx(expected, rel=1e-5)
