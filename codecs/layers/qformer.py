"""Query transformer layers as in DETR (Carion et al. 2020, arXiv 2005.12872): queries read a memory, under positions.

Letters: B batch, Q queries, M memory length, D width, d head width.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of queries `[B, Q, D]` over keys and values `[B, M, D]`.

    Args:
        width: D.
        heads: attention heads.
        qk_norm: LayerNorm over the channels of each head's queries and keys.
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads.")
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.q_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, Q or M, d]
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        y = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.out(y.transpose(1, 2).flatten(2))


class QueryLayer(nn.Module):
    """Self-attention among queries, attention over the memory, MLP; each behind a LayerNorm of the queries, each added."""

    def __init__(self, width: int, heads: int, *, mlp_ratio: float = 4.0, qk_norm: bool = False) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.self_norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = Attention(width, heads, qk_norm=qk_norm)
        self.cross_attention = Attention(width, heads, qk_norm=qk_norm)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, memory: Tensor, query_positions: Tensor, memory_positions: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: queries `[B, Q, D]`.
            memory: `[B, M, D]`.
            query_positions, memory_positions: `[Q, D]` and `[M, D]`, added to queries and keys, not to values.
        """
        y = self.self_norm(x)
        x = x + self.self_attention(y + query_positions, y + query_positions, y)
        y = self.cross_norm(x) + query_positions
        x = x + self.cross_attention(y, memory + memory_positions, memory)
        return x + self.mlp(self.mlp_norm(x))
