"""Ways around copies in resampling, against the plain ones. Run: pytest tests/codecs/layers/test_vqgan_blocks.py"""

import pytest
import torch
from tokenzoo.codecs.kernels.norm import lean_layout
from tokenzoo.codecs.layers.vqgan_blocks import Downsample, Upsample

SIZES = [(2, 2), (4, 4), (6, 10), (4, 7), (9, 8), (5, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layer", [Downsample(8, "conv"), Upsample(8, "nearest_conv")], ids=["halve", "double"])
def test_without_gradients_nothing_changes(layer, size):
    x = torch.randn(2, 8, *size, generator=torch.Generator().manual_seed(0))
    plain = layer(x)  # records gradients
    with torch.no_grad():
        lean = layer(lean_layout(x))
    assert plain.requires_grad and lean.shape == plain.shape
    assert lean.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(lean, plain.detach(), atol=2e-6, rtol=1e-5)
