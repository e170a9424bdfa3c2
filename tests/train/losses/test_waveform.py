"""The distance of waveforms against plain NumPy. Run: pytest tests/train/losses/test_waveform.py"""

import numpy as np
import pytest
from loss_cases import inputs, loss, waves


def test_mean_of_absolute_or_squared_differences():
    x, y = waves()
    assert float(loss("waveform")(inputs(x, y))) == pytest.approx(np.abs(x - y).mean(), rel=1e-5)
    assert float(loss("waveform", distance="l2")(inputs(x, y))) == pytest.approx(((x - y) ** 2).mean(), rel=1e-5)
