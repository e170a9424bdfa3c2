"""Attention between wide features and narrow codes against plain NumPy. Run: pytest tests/codecs/layers/test_attention_projection.py"""

import numpy as np
import pytest
import torch
from layer_references import attend, join_heads, layer_norm, linear, randomised, split_heads, weights
from tokenzoo.codecs.layers.attention_projection import AttentionProjection, GatedMLP


def attention(x: np.ndarray, w: dict[str, np.ndarray], heads: int, out_width: int, *, causal: bool) -> np.ndarray:
    inner = len(w["attention.q_bias"])
    bias = np.r_[w["attention.q_bias"], np.zeros(inner), w["attention.v_bias"]]  # keys have none
    q, k, v = (split_heads(part, heads) for part in np.split(linear(x, w["attention.qkv.weight"], bias), 3, axis=-1))
    y = attend(q, k, v, np.tri(x.shape[1], dtype=bool) if causal else None)
    if x.shape[-1] <= out_width:
        y = join_heads(y)
    else:  # the mean over heads, and over neighbours where a head is wider than the codes
        y = y.mean(1)
        y = y.reshape(*y.shape[:2], out_width, -1).mean(-1)
    return linear(y, w["attention.out.weight"], w["attention.out.bias"])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("in_width", "out_width", "heads"), [(12, 4, 0), (12, 4, 1), (12, 2, 3), (4, 12, 0), (4, 12, 2)])
def test_the_map_by_hand(in_width, out_width, heads, causal):
    module = randomised(AttentionProjection(in_width, out_width, heads=heads, causal=causal))
    x, w = np.random.default_rng(0).normal(size=(2, 5, in_width)), weights(module)
    y = linear(layer_norm(x, w["linear_norm.weight"], w["linear_norm.bias"]), w["linear.weight"], w["linear.bias"])
    normed = layer_norm(x, w["attention_norm.weight"], w["attention_norm.bias"])
    y = y + attention(normed, w, heads or max(in_width, out_width) // min(in_width, out_width), out_width, causal=causal)
    with torch.no_grad():
        mlp = module.gated(module.mlp_norm(torch.from_numpy(y))).numpy()
        np.testing.assert_allclose(module(torch.from_numpy(x)), y + mlp, atol=1e-10)


def test_the_gate_is_a_gelu_by_tanh():
    module = randomised(GatedMLP(4, 6))
    x, w = np.random.default_rng(0).normal(size=(3, 4)), weights(module)
    y = layer_norm(x, w["norm.weight"], w["norm.bias"], 1e-6)
    gate, up = linear(y, w["gate.weight"], w["gate.bias"]), linear(y, w["up.weight"], w["up.bias"])
    gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach(), linear(gate * up, w["down.weight"], w["down.bias"]))


def test_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="a multiple of the other"):
        AttentionProjection(12, 5)
    with pytest.raises(ValueError, match="does not divide into 5 heads"):
        AttentionProjection(12, 4, heads=5)
