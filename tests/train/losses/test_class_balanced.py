"""Class-balanced cross-entropy against plain NumPy. Run: pytest tests/train/losses/test_class_balanced.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, inputs, loss
from tokenzoo.codecs.config import ConfigError


def made(beta):
    return loss("class_balanced", IMAGE, feature="verdict", target="right", beta=beta)


def test_class_balanced():
    rng = np.random.default_rng(3)
    logits, target = rng.normal(size=(4, 2, 50)), (rng.random((4, 50)) < 0.1).astype(int)
    chosen = np.take_along_axis(logits, target[:, None], 1)[:, 0]
    gap = np.log(np.exp(logits).sum(1)) - chosen  # [4, 50]
    out = SimpleNamespace(features={"verdict": torch.tensor(logits), "right": torch.tensor(target)})
    for beta in (0.0, 0.9, 0.9999):
        effective = [(1 - beta**n) / (1 - beta) for n in (int((target == 0).sum()), int((target == 1).sum()))]
        weights = (1 / np.array(effective))[target]
        expected = (weights * gap).sum() / weights.sum()
        assert float(made(beta)(inputs([0], [0], out=out))) == pytest.approx(expected, rel=1e-5)
    means = [gap[target == v].mean() for v in (0, 1)]
    assert float(made(0.0)(inputs([0], [0], out=out))) == pytest.approx(gap.mean(), rel=1e-5)
    assert float(made(0.999999)(inputs([0], [0], out=out))) == pytest.approx(np.mean(means), rel=1e-3)  # both classes weigh the same
    alone = SimpleNamespace(features={"verdict": torch.tensor(logits), "right": torch.tensor(target * 0)})
    assert torch.isfinite(made(0.9999)(inputs([0], [0], out=alone)))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="beta is 1"):
        made(1.0)
    for wrong in (torch.zeros(4, 49).long(), torch.zeros(4, 50)):
        out = SimpleNamespace(features={"verdict": torch.zeros(4, 2, 50), "right": wrong})
        with pytest.raises(ConfigError, match="whole numbers"):
            made(0.5)(inputs([0], [0], out=out))
