"""Blocks as in LLaMA and positions in two dimensions against plain NumPy. Run: pytest tests/codecs/layers/test_rotary_vit.py"""

import numpy as np
import pytest
import torch
from layer_references import attend, join_heads, linear, randomised, rms_norm, silu, split_heads, turn, weights
from tokenzoo.codecs.layers.qwen2_vision import grid_angles
from tokenzoo.codecs.layers.rotary_vit import RotaryBlock, rotate


def angles(length: int = 7, half: int = 4) -> np.ndarray:
    return np.arange(length)[:, None] / 100.0 ** (np.arange(half) / half)


def tables(rotation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines `[L, d]`, in the order of the channels."""
    a = np.concatenate([angles(), angles()], axis=1) if rotation == "halves" else np.repeat(angles(), 2, axis=1)
    return torch.from_numpy(np.cos(a)), torch.from_numpy(np.sin(a))


@pytest.mark.parametrize("rotation", ["halves", "pairs"])
def test_rotation_is_a_product_of_complex_numbers(rotation):
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 8))
    found = rotate(torch.from_numpy(x), *tables(rotation), rotation)
    np.testing.assert_allclose(found, turn(x, angles(), rotation), atol=1e-12)


@pytest.mark.parametrize("rotation", ["halves", "pairs"])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_a_block_by_hand(rotation, qk_norm):
    block = randomised(RotaryBlock(24, 3, hidden=10, rotation=rotation, qk_norm=qk_norm))
    x, w = np.random.default_rng(0).normal(size=(2, 7, 24)), weights(block)
    rows = linear(rms_norm(x, w["attention_norm.weight"], 1e-6), w["attention.qkv.weight"])
    q, k, v = (split_heads(part, 3) for part in np.split(rows, 3, -1))
    if qk_norm:
        q, k = rms_norm(q, w["attention.q_norm.weight"], 1e-6), rms_norm(k, w["attention.k_norm.weight"], 1e-6)
    y = x + linear(join_heads(attend(turn(q, angles(), rotation), turn(k, angles(), rotation), v)), w["attention.out.weight"])
    gate, up = np.split(linear(rms_norm(y, w["mlp_norm.weight"], 1e-6), w["gate_up.weight"]), 2, -1)
    expected = y + linear(silu(gate) * up, w["down.weight"])
    with torch.no_grad():
        np.testing.assert_allclose(block(torch.from_numpy(x), *tables(rotation)), expected, atol=1e-10)


def test_half_of_a_head_turns_with_the_row_and_half_with_the_column():
    found = grid_angles((2, 3), 16, torch.device("cpu")).numpy()
    speeds = 10000.0 ** -(np.arange(4) / 4)
    expected = np.array([np.tile(np.r_[row * speeds, column * speeds], 2) for row in range(2) for column in range(3)])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
