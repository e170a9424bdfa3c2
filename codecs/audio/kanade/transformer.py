"""Transformers over frames with a window on both sides, whose norms may follow a vector of the whole item (AdaLN-zero).

Pre-norm blocks with rotary positions and SwiGLU (LLaMA 3's, arXiv 2407.21783); AdaLN-zero of DiT (Peebles and Xie 2023, arXiv
2212.09748): the vector gives the norm's scale and shift and a factor of the branch, all 0 before training.

Letters: B batch, D width, L positions, d width of a head, E width of the vector.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.transformer1d import rotary_angles, rotate
from ...layers.window_attention import window_attention
from ...recomputable import Recomputable


@dataclass(frozen=True, kw_only=True)
class WindowedConfig:
    """Settings of `WindowedTransformer`.

    Attributes:
        width: D.
        layers: number of blocks.
        heads: number of attention heads.
        feed_forward: hidden width of the gated feed-forward networks.
        window: positions that a position attends to, itself in their middle, an odd number; None: all.
        rope_period: base of the rotary frequencies; None: no positions.
        qkv_bias, out_bias: whether the maps to queries, keys and values, and the one behind the attention, have a bias.
        norm_eps: epsilon of the norms.
        dropout: share of attention weights that are dropped in training.
    """

    width: int = 768
    layers: int = 6
    heads: int = 12
    feed_forward: int = 2048
    window: int | None = 125
    rope_period: float | None = 10000.0
    qkv_bias: bool = False
    out_bias: bool = False
    norm_eps: float = 1e-5
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width // self.heads % 2:
            raise ConfigError(f"width is {self.width}; it must divide into {self.heads} heads, an even number of channels each.")
        if self.window is not None and (self.window < 1 or not self.window % 2):
            raise ConfigError(f"window is {self.window}; with its own position in the middle it is odd.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it is a share below 1.")


class ZeroNorm(nn.Module):
    """LayerNorm without weights, scaled and shifted by a vector, which also gives a factor for the branch where `gate` is set."""

    def __init__(self, width: int, condition: int, *, gate: bool, eps: float) -> None:
        super().__init__()
        self.eps, self.parts = eps, 3 if gate else 2
        self.proj = nn.Linear(condition, self.parts * width)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """The normalised `[B, L, D]` of `[B, L, D]` and vectors `[B, E]`, and the factors `[B, 1, D]`, if any."""
        shift, scale, *gate = self.proj(F.silu(condition))[:, None].chunk(self.parts, dim=-1)
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * (1 + scale) + shift, gate[0] if gate else None


class WindowedBlock(nn.Module, Recomputable):
    """Windowed attention and a gated feed-forward network over `[B, L, D]`, each pre-norm with a residual connection."""

    def __init__(self, config: WindowedConfig, condition: int = 0) -> None:
        super().__init__()
        c = self.config = config
        self.norm_attention = _norm(c, condition, gate=True)
        self.qkv = nn.Linear(c.width, 3 * c.width, bias=c.qkv_bias)
        self.out = nn.Linear(c.width, c.width, bias=c.out_bias)
        self.norm_feed_forward = _norm(c, condition, gate=True)
        self.up = nn.Linear(c.width, 2 * c.feed_forward, bias=False)
        self.down = nn.Linear(c.feed_forward, c.width, bias=False)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None, condition: Tensor | None = None) -> Tensor:
        """Apply the block to `[B, L, D]`; `angles`: cosines and sines `[L, d/2]`; `condition` `[B, E]`."""
        y, gate = _normed(self.norm_attention, x, condition)
        y = self._attention(y, angles)
        x = x + (y if gate is None else gate * y)
        y, gate = _normed(self.norm_feed_forward, x, condition)
        switch, value = self.up(y).chunk(2, dim=-1)
        y = self.down(F.silu(switch) * value)
        return x + (y if gate is None else gate * y)

    def _attention(self, x: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        c = self.config
        q, k, v = self.qkv(x).unflatten(2, (3, c.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, L, d] each
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        side = -1 if c.window is None else c.window // 2
        # without gradients nothing is dropped in train mode either, so that `encode` returns the same ids in both modes
        y = window_attention(q, k, v, (side, side), dropout=c.dropout if self.training and torch.is_grad_enabled() else 0.0)
        return self.out(y.transpose(1, 2).flatten(2))


class WindowedTransformer(nn.Module):
    """A stack of `WindowedBlock` over `[B, C, L]`.

    Args:
        config: settings of the blocks.
        in_channels, out_channels: C of the input and of the output; 0: the width, without a map.
        condition: E, width of the vector that the norms follow; 0: ordinary norms.
    """

    def __init__(self, config: WindowedConfig, *, in_channels: int = 0, out_channels: int = 0, condition: int = 0) -> None:
        super().__init__()
        c = self.config = config
        self.out_channels = out_channels or c.width
        self.in_proj = nn.Linear(in_channels, c.width) if in_channels else nn.Identity()
        self.blocks = nn.ModuleList(WindowedBlock(c, condition) for _ in range(c.layers))
        self.norm = _norm(c, condition, gate=False)
        self.out_proj = nn.Linear(c.width, out_channels) if out_channels else nn.Identity()
        for module in self.modules():  # as the authors start it, but for AdaLN, which keeps its zeros
            if isinstance(module, nn.Linear) and not any(module is n.proj for n in self.modules() if isinstance(n, ZeroNorm)):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Apply the stack to `[B, C, L]`, with a vector `[B, E]` for each item where it has AdaLN."""
        c = self.config
        y = self.in_proj(x.transpose(1, 2))
        angles = None if c.rope_period is None else rotary_angles(y.shape[1], c.width // c.heads, c.rope_period, y)
        for block in self.blocks:
            y = block(y, angles, condition)
        return self.out_proj(_normed(self.norm, y, condition)[0]).transpose(1, 2)


def _norm(config: WindowedConfig, condition: int, *, gate: bool) -> nn.Module:
    if condition:
        return ZeroNorm(config.width, condition, gate=gate, eps=config.norm_eps)
    return nn.LayerNorm(config.width, eps=config.norm_eps)


def _normed(norm: nn.Module, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return norm(x, condition) if isinstance(norm, ZeroNorm) else (norm(x), None)
