"""The distance of pixels against plain NumPy. Run: pytest tests/train/losses/test_pixel.py"""

import numpy as np
import pytest
import torch
from loss_cases import inputs, loss, waves
from tokenzoo.codecs.config import ConfigError


def test_mean_of_absolute_or_squared_differences():
    x, y = waves()
    assert float(loss("pixel")(inputs(x, y))) == pytest.approx(np.abs(x - y).mean(), rel=1e-5)
    assert float(loss("pixel", distance="l2")(inputs(x, y))) == pytest.approx(((x - y) ** 2).mean(), rel=1e-5)


def test_the_logarithm_of_each_picture():
    x, y = waves()
    y[1] = x[1] + 0.01 * y[1]
    each = ((x - y) ** 2).mean((1, 2))
    assert float(loss("pixel", distance="log_l2", floor=1e-3)(inputs(x, y))) == pytest.approx(np.log(1 + each / 1e-3).mean(), rel=1e-4)
    assert float(loss("pixel", distance="log_l2")(inputs(x, x))) == 0


def test_a_tenth_less_is_worth_the_same_in_every_picture():
    gaps = torch.tensor([0.01, 0.1, 1.0])[:, None].expand(3, 50).clone().requires_grad_()
    loss("pixel", distance="log_l2", floor=1e-9)(inputs(torch.zeros(3, 50), gaps)).backward()
    worth = (gaps.grad * gaps).detach().sum(1)
    assert worth.tolist() == pytest.approx([2 / 3] * 3, rel=1e-3)


def test_a_floor_is_above_zero():
    with pytest.raises(ConfigError, match="floor is 0"):
        loss("pixel", distance="log_l2", floor=0.0)
