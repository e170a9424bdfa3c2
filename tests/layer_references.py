"""Layers of neural networks in plain NumPy, float64: what tests of `codecs/layers` compare with."""

import numpy as np
import scipy.special
import torch
from torch import nn


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    """All weights of a module by name, float64."""
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def randomised(module: nn.Module, scale: float = 0.3) -> nn.Module:
    """`module` with weights that are neither zeros nor ones, in float64 and eval mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * scale + (1.0 if p.ndim == 1 else 0.0))
    return module.double().eval()


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    return x @ weight.T + (0 if bias is None else bias)


def layer_norm(x: np.ndarray, weight: np.ndarray | float = 1.0, bias: np.ndarray | float = 0.0, eps: float = 1e-5) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def gelu(x: np.ndarray) -> np.ndarray:
    return x * scipy.special.ndtr(x)


def silu(x: np.ndarray) -> np.ndarray:
    return x * scipy.special.expit(x)


def softmax(x: np.ndarray) -> np.ndarray:
    return scipy.special.softmax(x, axis=-1)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """Softmax attention of `[..., L, d]` over `[..., S, d]`; `allowed` `[L, S]` says where a query may look."""
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    return softmax(scores if allowed is None else np.where(allowed, scores, -np.inf)) @ v


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    """`[B, L, D]` to `[B, heads, L, D / heads]`."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def join_heads(x: np.ndarray) -> np.ndarray:
    """`[B, heads, L, d]` to `[B, L, heads d]`."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def turn(x: np.ndarray, angles: np.ndarray, pairs: str = "halves") -> np.ndarray:
    """Rotary positions as products of complex numbers: `[..., L, d]` by angles `[L, d / 2]`; pairs are halves or neighbours."""
    half = x.shape[-1] // 2
    numbers = x[..., :half] + 1j * x[..., half:] if pairs == "halves" else x[..., 0::2] + 1j * x[..., 1::2]
    turned = numbers * np.exp(1j * angles)
    if pairs == "halves":
        return np.concatenate([turned.real, turned.imag], axis=-1)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)
