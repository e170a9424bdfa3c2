"""Feature matching against plain NumPy. Run: pytest tests/train/losses/test_feature_matching.py"""

import numpy as np
import pytest
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
