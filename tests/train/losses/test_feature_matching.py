"""Feature matching against plain NumPy. Run: pytest tests/train/losses/test_feature_matching.py"""

import numpy as np
import pytest
import torch
from loss_cases import inputs, judgements, loss
from tokenzoo.train.losses.base import Judgement


@pytest.mark.parametrize("relative", [False, True])
def test_feature_matching(relative):
    rng = np.random.default_rng(3)
    real, fake = judgements(rng), judgements(rng)
    gaps = []
    for a, b in zip(real, fake):
        a, b = a.features[0].numpy(), b.features[0].numpy()
        gaps.append(np.abs(a - b).mean() / (np.abs(a).mean() if relative else 1))
    value = loss("feature_matching", relative=relative)(inputs([0], [0], real=real, fake=fake))
    assert float(value) == pytest.approx(np.mean(gaps), rel=1e-5)
    total = loss("feature_matching", relative=relative, layers="sum")(inputs([0], [0], real=real, fake=fake))
    assert float(total) == pytest.approx(np.sum(gaps), rel=1e-5)


def test_a_head_without_features_is_an_error():
    heads = judgements(np.random.default_rng(0))
    forgotten = [heads[0], Judgement(heads[1].logits)]
    with pytest.raises(ValueError, match=r"of 2 heads number \[1\] \(from 0\) gives none"):
        loss("feature_matching")(inputs([0], [0], real=forgotten, fake=forgotten))


def test_which_maps_count():
    """Two heads of two maps: the first map of each is left out, logits are compared too, heads are averaged."""

    def head(name, *values):
        logit, *maps = (torch.full((1, 1, 3), float(v)) for v in values)
        return Judgement(logit, tuple(maps), name)

    real = [head("a", 0, 0, 0), head("a", 0, 0, 0), head("b", 0, 0, 0)]
    fake = [head("a", 1, 10, 2), head("a", 3, 10, 4), head("b", 100, 100, 100)]
    options = {"discriminators": ["a"], "skip": 1, "logits": True}
    for layers, expected in (("heads", 5), ("sum", 10), ("mean", 2.5)):
        value = loss("feature_matching", layers=layers, **options)(inputs([0], [0], real=real, fake=fake))
        assert float(value) == pytest.approx(expected)
