"""Shifted windows against torchvision's. Run: pytest tests/codecs/layers/test_swin.py"""

import pytest
import torch
from layer_references import randomised
from tokenzoo.codecs.layers.swin import SwinBlock, SwinConfig, SwinLayer
from torchvision.models.swin_transformer import ShiftedWindowAttention


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (4, 4)])
def test_attention_is_torchvisions(shift, size):
    """Where one window covers the grid, torchvision does not shift."""
    own = randomised(SwinLayer(SwinConfig(width=12, window=4, heads=3), shift=shift if size != (4, 4) else 0))
    theirs = ShiftedWindowAttention(12, [4, 4], [shift, shift], 3).double().eval()
    attention = own.attention
    state = {"qkv.weight": attention.qkv.weight, "qkv.bias": attention.qkv.bias}
    state |= {"proj.weight": attention.out.weight, "proj.bias": attention.out.bias}
    state["relative_position_bias_table"] = attention.offset_bias
    theirs.load_state_dict(state, strict=False)
    x = torch.randn(2, *size, 12, dtype=torch.float64)
    with torch.no_grad():
        own.mlp.down.weight.zero_()
        own.mlp.down.bias.zero_()
        torch.testing.assert_close(own(x), x + theirs(own.norm1(x)))


def test_the_gain_of_the_mlp_comes_from_the_whole_picture():
    own = randomised(SwinLayer(SwinConfig(width=16, window=2, heads=2), shift=0)).mlp
    x = torch.randn(1, 5, 16, dtype=torch.float64)
    hidden = torch.nn.functional.gelu(x @ own.up.weight.T + own.up.bias)
    squeezed = torch.nn.functional.silu(hidden.mean(1) @ own.squeeze.weight.T + own.squeeze.bias)
    gain = torch.sigmoid(squeezed @ own.excite.weight.T + own.excite.bias)
    torch.testing.assert_close(own(x), (hidden * gain[:, None]) @ own.down.weight.T + own.down.bias)


def test_every_second_layer_is_shifted():
    block = SwinBlock(4, SwinConfig(width=16, window=4, heads=2, depth=4))
    assert [layer.shift for layer in block.stacks[0]] == [0, 2, 0, 2]
    still = SwinBlock(4, SwinConfig(width=16, window=4, heads=2, depth=4, shifted=False))
    assert [layer.shift for layer in still.stacks[0]] == [0] * 4
    with pytest.raises(ValueError, match="multiples of the window 4"):
        block(torch.zeros(1, 4, 8, 6))
