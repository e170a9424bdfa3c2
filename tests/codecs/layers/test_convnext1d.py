"""ConvNeXt blocks over frames against plain NumPy. Run: pytest tests/codecs/layers/test_convnext1d.py"""

import numpy as np
import pytest
import torch
from layer_references import gelu, layer_norm, linear, randomised, weights
from tokenzoo.codecs.layers.convnext1d import ConvNeXtBlock1d, ConvNeXtStack1d
from tokenzoo.codecs.layers.vocos import VocosBlock


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("edge", ["zeros", "replicate"])
def test_a_block_by_hand(causal, edge):
    block = randomised(ConvNeXtBlock1d(6, kernel_size=5, layer_scale=0.5, causal=causal, expansion=3, edge=edge))
    x, w = np.random.default_rng(0).normal(size=(2, 6, 9)), weights(block)
    sides = (4, 0) if causal else (2, 2)
    padded = np.pad(x, ((0, 0), (0, 0), sides), mode="constant" if edge == "zeros" else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=2)  # [B, D, L, 5]
    y = np.einsum("bdlk,dk->bld", windows, w["depthwise.weight"][:, 0]) + w["depthwise.bias"]
    y = gelu(linear(layer_norm(y, w["norm.weight"], w["norm.bias"], 1e-6), w["up.weight"], w["up.bias"]))
    y = linear(y, w["down.weight"], w["down.bias"]) * w["scale"]
    with torch.no_grad():
        np.testing.assert_allclose(block(torch.from_numpy(x)), x + y.transpose(0, 2, 1), atol=1e-10)


def test_vocos_has_the_same_block():
    ours = randomised(ConvNeXtBlock1d(6, kernel_size=7, layer_scale=0.5, causal=False, hidden=10))
    theirs = VocosBlock(6, 10, layer_scale=0.5).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 9, dtype=torch.float64)
    torch.testing.assert_close(theirs(x), ours(x))


@pytest.mark.parametrize("causal", [False, True])
def test_a_stack_sees_as_far_as_its_context(causal):
    stack = randomised(ConvNeXtStack1d(3, 6, 2, embed_kernel=3, kernel_size=5, expansion=2, causal=causal))
    x, at = torch.randn(1, 3, 40, dtype=torch.float64), 20
    y = x.clone()
    y[..., at] += 1
    with torch.no_grad():
        changed = (stack(x) - stack(y)).abs().amax(1)[0].nonzero().flatten().tolist()
    assert changed == list(range(at if causal else at - stack.context, at + stack.context + 1))
