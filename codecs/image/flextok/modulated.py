"""Transformer blocks of diffusion decoders: norms without weights, optionally shifted, scaled and gated by a condition (adaLN).

adaLN-zero: Peebles & Xie 2022 (DiT), arXiv 2212.09748. QK-norm: Henry et al. 2020, arXiv 2010.04245. SwiGLU: arXiv 2002.05202.
The attention scale 8 / d is that of muP (arXiv 2203.03466), equal to d^-1/2 at d = 64.

Letters: B batch, L sequence length, D width, d head width, P parts of a sequence.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...recomputable import Recomputable


@dataclass(frozen=True, kw_only=True)
class ModulatedConfig:
    """Settings of one transformer.

    Attributes:
        width: D, channels of the sequence.
        layers: number of blocks.
        head_width: d, channels of an attention head.
        mlp_ratio: hidden width of the MLP as a multiple of D; a gated one has two thirds of it.
        gated: SiLU-gated MLP (SwiGLU), otherwise plain SiLU.
        qk_norm: LayerNorm over the channels of each head's queries and keys.
        qkv_bias, out_bias, mlp_bias: whether these linear maps have a bias.
    """

    width: int = 768
    layers: int = 12
    head_width: int = 64
    mlp_ratio: float = 4.0
    gated: bool = True
    qk_norm: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False

    def __post_init__(self) -> None:
        if self.width % self.head_width:
            raise ValueError(f"width {self.width} is no multiple of head_width {self.head_width}.")


def plain_norm(x: Tensor) -> Tensor:
    """LayerNorm over the last axis, without weights, in float32."""
    return F.layer_norm(x.float(), x.shape[-1:]).to(x.dtype)


class Modulation(nn.Module):
    """Condition to `count` vectors for each of `parts` parts of a sequence: SiLU, then a linear map that starts at zero."""

    def __init__(self, width: int, count: int, *, parts: int = 1) -> None:
        super().__init__()
        self.count, self.parts = count, parts
        self.proj = nn.Linear(width, parts * count * width)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, condition: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
        """`count` tensors `[B, L, D]` of conditions `[B, D]`; `lengths` are those of the parts, in order."""
        y = self.proj(F.silu(condition)).unflatten(-1, (self.parts, -1))  # [B, P, count D]
        if self.parts == 1:
            return y.chunk(self.count, dim=-1)  # broadcasts over L
        return torch.cat([y[:, i : i + 1].expand(-1, n, -1) for i, n in enumerate(lengths)], dim=1).chunk(self.count, dim=-1)


class ModulatedBlock(nn.Module, Recomputable):
    """x + g1 attention(norm(x) (1 + c1) + s1), then x + g2 MLP(norm(x) (1 + c2) + s2); without a condition g = 1, c = s = 0.

    Args:
        config: settings of the transformer.
        parts: number of parts of the sequence with separate modulations; 0: no condition.
    """

    def __init__(self, config: ModulatedConfig, *, parts: int = 0) -> None:
        super().__init__()
        self.config = c = config
        hidden = int(c.width * c.mlp_ratio)
        hidden = int(2 * hidden / 3) if c.gated else hidden
        self.qkv = nn.Linear(c.width, 3 * c.width, bias=c.qkv_bias)
        self.out = nn.Linear(c.width, c.width, bias=c.out_bias)
        self.up = nn.Linear(c.width, hidden, bias=c.mlp_bias)
        self.gate = nn.Linear(c.width, hidden, bias=c.mlp_bias) if c.gated else None
        self.down = nn.Linear(hidden, c.width, bias=c.mlp_bias)
        for layer in (self.qkv, self.out, self.up, self.gate, self.down):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
        self.modulation = Modulation(c.width, 6, parts=parts) if parts else None

    def attention(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Self-attention `[B, L, D]`; `mask` is bool `[L, L]`, True where a query attends to a key."""
        c = self.config
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, c.head_width)).permute(2, 0, 3, 1, 4)  # each [B, heads, L, d]
        q, k = (plain_norm(q), plain_norm(k)) if c.qk_norm else (q, k)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=8 / c.head_width)
        return self.out(y.transpose(1, 2).flatten(2))

    def mlp(self, x: Tensor) -> Tensor:
        """Feed-forward network on `[B, L, D]`."""
        y = self.up(x)
        return self.down(F.silu(y) if self.gate is None else F.silu(self.gate(x)) * y)

    def forward(self, x: Tensor, mask: Tensor | None = None, condition: Tensor | None = None, lengths: tuple[int, ...] = ()) -> Tensor:
        """Transform `[B, L, D]`.

        Args:
            x: `[B, L, D]`.
            mask: bool `[L, L]`.
            condition: `[B, D]`, for blocks with a modulation.
            lengths: lengths of the parts of the sequence, in order.
        """
        if self.modulation is None:
            x = x + self.attention(plain_norm(x), mask)
            return x + self.mlp(plain_norm(x))
        gate1, gate2, shift1, scale1, shift2, scale2 = self.modulation(condition, lengths)
        x = x + gate1 * self.attention(plain_norm(x) * (1 + scale1) + shift1, mask)
        return x + gate2 * self.mlp(plain_norm(x) * (1 + scale2) + shift2)


class NormHead(nn.Module):
    """Norm without weights, optional modulation, linear map; `[B, L, D]` to `[B, L, out]`."""

    def __init__(self, width: int, out: int, *, modulated: bool = False) -> None:
        super().__init__()
        self.proj = nn.Linear(width, out)
        self.modulation = Modulation(width, 2) if modulated else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map `[B, L, D]` to `[B, L, out]`; `condition` is `[B, D]`."""
        x = plain_norm(x)
        if self.modulation is not None:
            shift, scale = self.modulation(condition, ())
            x = x * (1 + scale) + shift
        return self.proj(x)
