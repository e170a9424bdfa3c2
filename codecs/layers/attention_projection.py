"""Maps between wide features and narrow latents by attention over all positions instead of a linear layer.

UniTok (Ma et al. 2025, arXiv 2502.20321; FoundationVision/UniTok @ bb8012e8e8, MIT, models/vqvae.py) and DualToken (arXiv
2503.14324). In maps to a smaller width the outputs of the heads are averaged, not concatenated.

Letters: B batch, L positions, D_in and D_out widths, d head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError


class _Attention(nn.Module):
    def __init__(self, in_width: int, out_width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        inner = max(in_width, out_width)
        if inner % heads:
            raise ConfigError(f"attention projection: width {inner} does not divide into {heads} heads.")
        self.heads, self.causal, self.narrows = heads, causal, in_width > out_width
        self.qkv = nn.Linear(in_width, 3 * inner, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(inner))  # keys have no bias: it would cancel in the softmax
        self.v_bias = nn.Parameter(torch.zeros(inner))
        self.out = nn.Linear(out_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, L, d]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        if not self.narrows:
            return self.out(y.transpose(1, 2).flatten(2))
        y = y.mean(1)  # [B, L, d]
        width = self.out.in_features
        return self.out(y if y.shape[-1] == width else F.adaptive_avg_pool1d(y, width))


class AttentionProjection(nn.Module):
    """linear(norm(x)) + attention(norm(x)), then a gated MLP added; `[B, L, D_in]` to `[B, L, D_out]`.

    Args:
        in_width, out_width: D_in and D_out, one a multiple of the other.
        heads: number of attention heads; 0: larger width / smaller width, so that each head has the smaller width.
        causal: positions attend to themselves and earlier ones only (DualToken's maps up; UniTok's first release).
        mlp_ratio: hidden width of the MLP as a multiple of D_out.
    """

    def __init__(self, in_width: int, out_width: int, *, heads: int = 0, causal: bool = False, mlp_ratio: float = 2.0) -> None:
        super().__init__()
        large, small = max(in_width, out_width), min(in_width, out_width)
        if large % small:
            raise ConfigError(f"attention projection: of {in_width} and {out_width} one must be a multiple of the other.")
        hidden = int(out_width * mlp_ratio)
        self.linear_norm, self.linear = nn.LayerNorm(in_width), nn.Linear(in_width, out_width)
        self.attention_norm = nn.LayerNorm(in_width)
        self.attention = _Attention(in_width, out_width, heads or large // small, causal=causal)
        self.mlp_norm = nn.LayerNorm(out_width)
        self.gated = GatedMLP(out_width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, L, D_in]` to `[B, L, D_out]`."""
        x = self.linear(self.linear_norm(x)) + self.attention(self.attention_norm(x))
        return x + self.gated(self.mlp_norm(x))


class GatedMLP(nn.Module):
    """LayerNorm, then down(gelu(gate(x)) * up(x)) (ViTamin, arXiv 2404.02132); `gelu`: "none" (exact) or "tanh"; `[..., D]`."""

    def __init__(self, width: int, hidden: int, *, gelu: str = "tanh") -> None:
        super().__init__()
        self.gelu = gelu
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.gate, self.up = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the MLP to `[..., D]`; the shape stays."""
        x = self.norm(x)
        return self.down(F.gelu(self.gate(x), approximate=self.gelu) * self.up(x))
