"""UniCodec's transformer: Mimi's blocks, each with a mixture of experts as its feed-forward network.

Jiang et al. 2025, arXiv 2502.20067; the mixture as in DeepSeekMoE (Dai et al. 2024, arXiv 2401.06066). Every position goes through one
expert for all, and through the routed ones with the highest scores, weighted by them.

Letters: B batch, D width, L positions, N rows (B L), E routed experts.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...kernels.mode import is_plain
from ...layers.transformer1d import Transformer1d, Transformer1dConfig


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
    """Settings of UniCodec's transformer, as wide as the latents.

    Attributes:
        layers: number of blocks.
        heads: attention heads; every position attends to all.
        feed_forward: hidden width of each expert.
        routed: E.
        active: experts that a position goes through.
        shared: width of the expert for all, as a multiple of the others'.
        layer_scale: initial value of the attention's LayerScale; the mixture has none.
    """

    layers: int = 8
    heads: int = 8
    feed_forward: int = 2048
    routed: int = 3
    active: int = 1
    shared: int = 1
    layer_scale: float = 0.01

    def __post_init__(self) -> None:
        if not 1 <= self.active <= self.routed:
            raise ConfigError(f"active is {self.active}; allowed: 1 to routed, {self.routed}.")


class Expert(nn.Module):
    """`down(silu(gate(x)) * up(x))` of rows `[N, D]`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the expert."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Mixture(nn.Module):
    """Experts over `[B, L, D]`; each row's result depends on that row alone."""

    def __init__(self, width: int, config: ExpertsConfig) -> None:
        super().__init__()
        c = self.config = config
        self.router = nn.Linear(width, c.routed, bias=False)
        self.experts = nn.ModuleList(Expert(width, c.feed_forward) for _ in range(c.routed))
        self.shared = Expert(width, c.shared * c.feed_forward)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the mixture."""
        rows = x.flatten(0, 1)
        weights, chosen = self.router(rows).softmax(-1, dtype=torch.float32).topk(self.config.active, dim=-1)  # [N, active]
        out = self.shared(rows)
        for i, expert in enumerate(self.experts):
            weight = (weights * (chosen == i)).sum(-1, keepdim=True).to(rows.dtype)  # 0 for rows that go elsewhere
            if self.training or is_plain():  # every expert takes part: processes have the same gradients, and graphs one shape
                out = out + expert(rows) * weight
            elif len(at := weight.flatten().nonzero().flatten()):
                out = out.index_add(0, at, (expert(rows[at]) * weight[at]).to(out.dtype))
        return out.view_as(x)


def expert_transformer(width: int, config: ExpertsConfig) -> Transformer1d:
    """The transformer over latents `[B, D, L]`."""
    c = config
    own = Transformer1dConfig(
        width=width, layers=c.layers, heads=c.heads, feed_forward=1, context=None, causal=False, layer_scale=c.layer_scale
    )
    out = Transformer1d(own)
    for block in out.blocks:
        block.feed_forward = Mixture(width, c)
        block.scale_feed_forward = nn.Identity()
    return out
