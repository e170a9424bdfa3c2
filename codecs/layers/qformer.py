"""Queries that attend to a memory: decoder layers as in DETR, with position embeddings, and the Q-Former of BLIP-2.

DETR: Carion et al. 2020 (arXiv 2005.12872). Q-Former: Li et al. 2023 (arXiv 2301.12597), a BERT (arXiv 1810.04805) whose
first sequence is learned queries.

Letters: B batch, Q queries, M memory length, D width, d head width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError
from ..recomputable import Recomputable


class Attention(nn.Module):
    """Multi-head attention of queries `[B, Q, D]` over keys and values `[B, M, D]`.

    Args:
        width: D.
        heads: number of attention heads.
        qk_norm: LayerNorm over the channels of each head's queries and keys.
        memory_width: width of the inputs of keys and values; 0: D.
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool = False, memory_width: int = 0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads.")
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(w, width) for w in (width, memory_width or width, memory_width or width))
        self.out = nn.Linear(width, width)
        self.q_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False) -> Tensor:
        """`[B, Q, D]` of queries `[B, Q, D]`, keys and values `[B, M, ...]`; `causal`: query i attends to keys 0..i only."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, Q or M, d]
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        y = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))


class QueryLayer(nn.Module, Recomputable):
    """Self-attention of the queries, cross-attention to the memory, MLP; each pre-norm and with a residual connection."""

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


@dataclass(frozen=True, kw_only=True)
class QFormerConfig:
    """Settings of `QFormer`; the defaults are those of BERT-base with cross-attention in every second layer.

    Attributes:
        width: D.
        layers: number of layers.
        heads: number of attention heads.
        hidden: hidden width of the MLPs.
        memory_every: n: the first and then every n-th layer has cross-attention to the memory.
        causal: queries attend to themselves and earlier queries only.
        eps: epsilon of the LayerNorms.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    memory_every: int = 2
    causal: bool = False
    eps: float = 1e-12

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads.")
        if self.memory_every < 1:
            raise ConfigError(f"memory_every is {self.memory_every}; it counts layers, from 1.")


class QFormerLayer(nn.Module, Recomputable):
    """Self-attention, cross-attention to the memory if `reads`, MLP; each with a residual connection and post-norm."""

    def __init__(self, config: QFormerConfig, memory_width: int, *, reads: bool) -> None:
        super().__init__()
        width, eps = config.width, config.eps
        self.causal = config.causal
        self.self_attention = Attention(width, config.heads)
        self.self_norm = nn.LayerNorm(width, eps=eps)
        self.cross_attention = Attention(width, config.heads, memory_width=memory_width) if reads else None
        self.cross_norm = nn.LayerNorm(width, eps=eps) if reads else None
        self.mlp = nn.Sequential(nn.Linear(width, config.hidden), nn.GELU(), nn.Linear(config.hidden, width))
        self.mlp_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """New queries `[B, Q, D]`, from queries `[B, Q, D]` and `memory` `[B, M, memory_width]`."""
        x = self.self_norm(x + self.self_attention(x, x, x, causal=self.causal))
        if self.cross_attention is not None and self.cross_norm is not None:
            x = self.cross_norm(x + self.cross_attention(x, memory, memory))
        return self.mlp_norm(x + self.mlp(x))


class QFormer(nn.Module):
    """`num_queries` learned queries that attend to a memory `[B, M, memory_width]`; output: their last states `[B, Q, D]`."""

    def __init__(self, config: QFormerConfig, *, num_queries: int, memory_width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_queries, config.width) * 0.02)
        self.norm_in = nn.LayerNorm(config.width, eps=config.eps)
        self.layers = nn.ModuleList(
            QFormerLayer(config, memory_width, reads=i % config.memory_every == 0) for i in range(config.layers)
        )

    def forward(self, memory: Tensor) -> Tensor:
        """Last states of the queries, `[B, Q, D]`, for a memory `[B, M, memory_width]`."""
        x = self.norm_in(self.queries).expand(len(memory), -1, -1)
        for layer in self.layers:
            x = layer(x, memory)
        return x
