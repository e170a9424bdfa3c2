"""The distance in a vision model's features against plain NumPy. Run: pytest tests/train/losses/test_vision_distance.py"""

import pytest
import torch
from loss_cases import IMAGE, loss
from tokenzoo.train.losses.base import LossInputs


def test_vision_distance():
    torch.manual_seed(0)
    module = loss("vision_distance", IMAGE, model="test_vit", image_size=0, pretrained=False)
    x, x_hat = torch.rand(2, 3, 160, 160), torch.rand(2, 3, 160, 160, requires_grad=True)
    network, (low, high) = module._network[0], IMAGE.value_range
    with torch.no_grad():
        a, b = (network(((v - low) / (high - low) - module.mean) / module.deviation).numpy() for v in (x, x_hat))
    value = module(LossInputs(x=x, x_hat=x_hat, out=None))
    assert float(value.detach()) == pytest.approx(((a - b) ** 2).mean(), rel=1e-4) and float(value.detach()) > 0
    value.backward()
    assert x_hat.grad.abs().sum() > 0 and not [*module.parameters()]
