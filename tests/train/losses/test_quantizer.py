"""The quantizer's own loss against plain NumPy. Run: pytest tests/train/losses/test_quantizer.py"""

from types import SimpleNamespace

import torch
from loss_cases import inputs, loss


def test_quantizer_loss_is_passed_on():
    out = SimpleNamespace(quantized=SimpleNamespace(loss=torch.tensor(0.25)))
    assert float(loss("quantizer")(inputs([0], [0], out=out))) == 0.25
