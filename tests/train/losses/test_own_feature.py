"""Distance between two of the tokenizer's own features against plain NumPy. Run: pytest tests/train/losses/test_own_feature.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, inputs, loss
from tokenzoo.codecs.config import ConfigError


def test_own_feature():
    rng = np.random.default_rng(5)
    ours, target = rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 3, 8))
    features = {"semantic": torch.tensor(ours, requires_grad=True), "tower": torch.tensor(target, requires_grad=True)}
    cosine = (ours * target).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(target, axis=1))
    value = loss("own_feature", IMAGE, target="tower")(inputs([0], [0], out=SimpleNamespace(features=features)))
    assert float(value.detach()) == pytest.approx((1 - cosine).mean(), rel=1e-5)
    value.backward()
    assert features["semantic"].grad.abs().sum() > 0 and features["tower"].grad is None
    with pytest.raises(ConfigError, match="no feature 'semantic_target'; it has semantic, tower"):
        loss("own_feature", IMAGE)(inputs([0], [0], out=SimpleNamespace(features=features)))


def test_own_features_of_several_steps_are_summed():
    rng = np.random.default_rng(6)
    steps, target = rng.normal(size=(3, 2, 4, 5)), rng.normal(size=(2, 4, 5))
    gaps = [((s - target) ** 2).mean() for s in steps]
    # the order is that of the numbers, not of the letters
    features = {"code.10": torch.tensor(steps[2]), "code.9": torch.tensor(steps[1]), "code.0": torch.tensor(steps[0])}
    out = SimpleNamespace(features=features | {"code_target": torch.tensor(target)})
    options = {"feature": "code.*", "target": "code_target", "along": "mse"}
    assert float(loss("own_feature", IMAGE, **options)(inputs([0], [0], out=out))) == pytest.approx(sum(gaps), rel=1e-5)
    for weights, whole in (([3.0, 0.5], (3, 0.5, 0.5)), ([3.0, 0.5, 2.0], (3, 0.5, 2))):
        weighted = loss("own_feature", IMAGE, **options, weights=weights)(inputs([0], [0], out=out))
        assert float(weighted) == pytest.approx(np.dot(whole, gaps), rel=1e-5)
    assert not loss("own_feature", IMAGE, feature="codes.*", target="code_target").can_score(inputs([0], [0], out=out))
