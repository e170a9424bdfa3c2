"""The perceptual distance against plain NumPy. Run: pytest tests/train/losses/test_perceptual.py"""

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, inputs, loss
from safetensors.torch import save_file
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.losses.perceptual import BLOCKS, PerceptualConfig, VggDistance


def vgg_file(folder):
    network = VggDistance()
    generator = torch.Generator().manual_seed(0)
    state = {k: torch.randn(v.shape, generator=generator) * 0.05 for k, v in network.state_dict().items()}
    state |= {k: v.abs() for k, v in state.items() if k.startswith("heads")}
    save_file(state, folder / "vgg.safetensors")
    return folder / "vgg.safetensors", {k: v.numpy().astype(np.float64) for k, v in state.items()}


def numpy_features(x, state, blocks):
    """VGG16 activations of `[3, H, W]` in 0..1, scaled to length one over channels."""
    mean = np.array((122.67892, 116.66877, 104.00699))
    x, out = x * 255 - mean[:, None, None], []
    for b in range(blocks):
        if b:
            c, h, w = x.shape
            x = x.reshape(c, h // 2, 2, w // 2, 2).max(axis=(2, 4))
        for layer in range(len(BLOCKS[b])):
            kernel, bias = state[f"blocks.{b}.{layer}.weight"], state[f"blocks.{b}.{layer}.bias"]
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # [C, H, W, 3, 3]
            x = np.maximum(0, np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True) + bias[:, None, None])
        out.append(x / np.sqrt((x**2).sum(0) + 1e-10))
    return out


def test_perceptual_distance(tmp_path):
    path, state = vgg_file(tmp_path)
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-1, 1, (2, 3, 16, 16)), rng.uniform(-1, 1, (2, 3, 16, 16))
    expected = []
    for a, b in zip((x + 1) / 2, (y + 1) / 2):
        pairs = zip(numpy_features(a, state, 2), numpy_features(b, state, 2))
        gaps = [np.einsum("chw,c->hw", (p - q) ** 2, state[f"heads.{i}"]).mean() for i, (p, q) in enumerate(pairs)]
        expected.append(sum(gaps))
    module = loss("perceptual", IMAGE, weights=str(path), blocks=2)
    assert float(module(inputs(x, y))) == pytest.approx(np.mean(expected), rel=1e-4)
    first = loss("perceptual", IMAGE, weights=str(path), blocks=2, max_items=1)
    assert float(first(inputs(x, y))) == pytest.approx(expected[0], rel=1e-4)
    assert not list(module.parameters())
    assert not module.state_dict()


def test_perceptual_weights_that_do_not_fit(tmp_path):
    with pytest.raises(ConfigError, match="no file"):
        PerceptualConfig(weights=str(tmp_path / "none.safetensors")).build(IMAGE)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="holds no VGG16"):
        PerceptualConfig(weights=str(tmp_path / "other.safetensors")).build(IMAGE)
