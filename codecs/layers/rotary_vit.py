"""Transformer blocks as in LLaMA (Touvron et al. 2023, arXiv 2302.13971), without biases, over patches and latent tokens.

Letters: B batch, L sequence length, D width, d head width.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..recomputable import Recomputable
from .window_attention import window_attention

Rotation = Literal["halves", "pairs"]


class RotaryAttention(nn.Module):
    """Self-attention with rotated queries and keys, `[B, L, D]`.

    Args:
        width: D.
        heads: number of attention heads.
        rotation: which channels are rotated as a pair: i and i + d/2 ("halves", GPT-NeoX), or neighbours ("pairs", RoFormer).
        qk_norm: RMSNorm over the channels of each head's queries and keys, before the rotation.
        qk_eps: epsilon of these norms.
        window: positions before and behind it that a position attends to; -1: no limit.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        rotation: Rotation,
        qk_norm: bool,
        qk_eps: float = 1e-6,
        window: tuple[int, int] = (-1, -1),
    ) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.rotation: Rotation = rotation
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm = nn.RMSNorm(width // heads, eps=qk_eps) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(width // heads, eps=qk_eps) if qk_norm else nn.Identity()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attention over `x [B, L, D]`; `cos` and `sin` of the positions' angles are `[L, d]`."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, L, d]
        q = rotate(self.q_norm(q), cos, sin, self.rotation)
        k = rotate(self.k_norm(k), cos, sin, self.rotation)
        return self.out(window_attention(q, k, v, self.window).transpose(1, 2).flatten(2))


class RotaryBlock(nn.Module, Recomputable):
    """x + attention(RMSNorm(x)), then x + SwiGLU(RMSNorm(x)); `[B, L, D]`.

    Args:
        width, heads, rotation, qk_norm, qk_eps, window: as in `RotaryAttention`.
        hidden: hidden width of the SwiGLU.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        hidden: int,
        rotation: Rotation,
        qk_norm: bool,
        qk_eps: float = 1e-6,
        window: tuple[int, int] = (-1, -1),
    ) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = RotaryAttention(width, heads, rotation=rotation, qk_norm=qk_norm, qk_eps=qk_eps, window=window)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-6)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)  # the gate's channels first
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Apply the block to `x [B, L, D]`; `cos` and `sin` of the positions' angles are `[L, d]`."""
        x = x + self.attention(self.attention_norm(x), cos, sin)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, rotation: Rotation) -> Tensor:
    """Rotate pairs of channels of `[..., L, d]` by the angles with the cosines and sines `[L, d]`."""
    if rotation == "halves":
        first, second = x.chunk(2, dim=-1)
        rotated = torch.cat([-second, first], dim=-1)
    else:
        rotated = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    return x * cos + rotated * sin
