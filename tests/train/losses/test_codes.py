"""Cross-entropy of predicted codes against plain NumPy. Run: pytest tests/train/losses/test_codes.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, inputs, loss, nll
from tokenzoo.codecs.config import ConfigError


def test_codes():
    rng = np.random.default_rng(7)
    logits, ids = rng.normal(size=(2, 2, 7, 6)), rng.integers(0, 7, size=(2, 6))
    features = {"logits.0": torch.tensor(logits[0]), "logits.1": torch.tensor(logits[1]), "ids": torch.tensor(ids)}
    module = loss("codes", IMAGE, feature="logits.*", weights=[2.0, 0.5])
    expected = 2 * nll(logits[0], ids) + 0.5 * nll(logits[1], ids)
    assert float(module(inputs([0], [0], out=SimpleNamespace(features=features)))) == pytest.approx(expected, rel=1e-5)
    # a teacher's ids, and logits on a grid
    grid = SimpleNamespace(features={"logits": torch.tensor(logits[0]).unflatten(2, (2, 3))})
    module = loss("codes", IMAGE, teacher="t")
    value = module(inputs([0], [0], out=grid, targets={"t": torch.tensor(ids)}))
    assert float(value) == pytest.approx(nll(logits[0], ids), rel=1e-5)
    # a tenth of the target's probability is spread over all ids
    smooth = loss("codes", IMAGE, teacher="t", smoothing=0.1)
    value = smooth(inputs([0], [0], out=grid, targets={"t": torch.tensor(ids)}))
    everywhere = np.mean([nll(logits[0], np.full_like(ids, v)) for v in range(7)])
    assert float(value) == pytest.approx(0.9 * nll(logits[0], ids) + 0.1 * everywhere, rel=1e-5)
    # each picture with its own weight
    weighted = loss("codes", IMAGE, item_weights="share")
    out = SimpleNamespace(features={"logits": torch.tensor(logits[0]), "ids": torch.tensor(ids), "share": torch.tensor([[0.5], [2.0]])})
    expected = (0.5 * nll(logits[0][:1], ids[:1]) + 2 * nll(logits[0][1:], ids[1:])) / 2
    assert float(weighted(inputs([0], [0], out=out))) == pytest.approx(expected, rel=1e-5)
    # positions that are shown count a tenth, and the sum of the weights is the divisor
    module_of_hidden = loss("codes", IMAGE, item_weights="hidden", least_weight=0.1, mean="weighted")
    hidden = np.array([[1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0]])
    out = SimpleNamespace(features={"logits": torch.tensor(logits[0]), "ids": torch.tensor(ids), "hidden": torch.tensor(hidden)})
    share = np.where(hidden, 1.0, 0.1)
    each = [[nll(logits[0][b : b + 1, :, i : i + 1], ids[b : b + 1, i : i + 1]) for i in range(6)] for b in range(2)]
    expected = (np.array(each) * share).sum() / share.sum()
    assert float(module_of_hidden(inputs([0], [0], out=out))) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="least_weight"):
        loss("codes", IMAGE, teacher="t", least_weight=1.5)
    with pytest.raises(ConfigError, match="smoothing"):
        loss("codes", IMAGE, teacher="t", smoothing=1.0)
    for wrong in (torch.tensor(ids)[:, :5], torch.tensor(ids) + 3, torch.tensor(ids).double()):
        with pytest.raises(ConfigError, match="Grids and vocabularies must agree"):
            module(inputs([0], [0], out=grid, targets={"t": wrong}))
