"""The likelihood of pixels against PyTorch's Laplace distribution. Run: pytest tests/train/losses/test_logit_laplace.py"""

from types import SimpleNamespace

import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.spec import ImageSpec
from tokenzoo.train.losses.base import LossInputs
from tokenzoo.train.losses.logit_laplace import LogitLaplaceConfig
from torch.distributions import Laplace, SigmoidTransform, TransformedDistribution

SPEC = ImageSpec(vocab_sizes=(8,), stride=8, value_range=(-1.0, 1.0))


def test_it_is_the_density_of_a_sigmoid_of_a_laplace_variable():
    x, found = torch.rand(2, 3, 4, 5) * 2 - 1, torch.randn(2, 6, 4, 5)
    ours = LogitLaplaceConfig().build(SPEC)(LossInputs(x, x, SimpleNamespace(features={"statistics": found})))
    density = TransformedDistribution(Laplace(found[:, :3], found[:, 3:].exp()), SigmoidTransform())
    assert float(ours) == pytest.approx(-float(density.log_prob(0.1 + 0.8 * (x + 1) / 2).mean()), rel=1e-5)


def test_a_margin_of_0_would_make_white_infinite():
    with pytest.raises(ConfigError, match="margin is 0"):
        LogitLaplaceConfig(margin=0.0)
