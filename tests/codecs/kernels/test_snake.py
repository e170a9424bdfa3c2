"""Snake against NumPy. Run: pytest tests/codecs/kernels/test_snake.py"""

import numpy as np
import pytest
import torch
from tokenzoo.codecs.audio.nemo_codec.model import HalfSnake
from tokenzoo.codecs.kernels.snake import Snake, SnakeBeta
from torch import nn


def signal(channels: int = 4, length: int = 50) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, (2, channels, length))


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for p in module.parameters():
        nn.init.uniform_(p, 0.3, 3.0)
    return module.double()


def snake(x: np.ndarray, period: np.ndarray, height: np.ndarray) -> np.ndarray:
    return x + np.sin(period[:, None] * x) ** 2 * height[:, None]


@pytest.mark.parametrize("grad", [False, True])  # the two ways through memory
def test_snake_has_a_period_for_each_channel(grad):
    layer, x = randomised(Snake(4)), signal()
    alpha = layer.alpha.detach().numpy().reshape(-1)
    with torch.set_grad_enabled(grad):
        np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), snake(x, alpha, 1 / alpha), rtol=1e-6)


def test_snake_beta_has_both_as_logarithms():
    layer, x = randomised(SnakeBeta(4)), signal()
    period, height = np.exp(layer.alpha.detach().numpy()), np.exp(-layer.beta.detach().numpy())
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), snake(x, period, height), rtol=1e-6)


def test_half_snake_is_leaky_on_the_other_half():
    layer, x = randomised(HalfSnake(4)), signal()
    alpha = layer.snake.alpha.detach().numpy().reshape(-1)
    expected = np.concatenate([snake(x[:, :2], alpha, 1 / alpha), np.where(x[:, 2:] > 0, x[:, 2:], 0.01 * x[:, 2:])], axis=1)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_period_that_half_precision_holds_as_zero_gives_the_identity(dtype):
    """1 / 1e-9 is infinite in float16; infinite times sin(0) would be NaN."""
    layer = Snake(2)
    nn.init.zeros_(layer.alpha)
    x = torch.randn(1, 2, 9).to(dtype)
    assert torch.equal(layer.to(dtype)(x), x)
