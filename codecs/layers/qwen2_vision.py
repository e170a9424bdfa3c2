"""The vision tower of Qwen2-VL, and stacks of its blocks: ViT blocks with two-dimensional rotary positions.

Qwen2-VL: Wang et al. 2024, arXiv 2409.12191; facts from illume-unified-mllm/ILLUME_plus @ 51de69dcd4 (Apache-2.0),
vision_tokenizer/tokenizer/qwen2vit.

Differs: there a picture is a clip of two equal frames, with a patch embedding for each frame; here the two embeddings are one,
with the sum of their weights.

Letters: B batch, H W pixels, h w grid of patches, D width, d head width, L = h w.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError
from .rotary_vit import rotate
from .vit import QuickGELU, SelfAttention, ViTBlock

Activation = Literal["quick_gelu", "gelu", "gelu_tanh", "silu", "relu"]


def activation(name: Activation) -> nn.Module:
    """A new module of the activation called `name`."""
    made = {"quick_gelu": QuickGELU, "gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU}
    return nn.GELU(approximate="tanh") if name == "gelu_tanh" else made[name]()


@dataclass(frozen=True, kw_only=True)
class RotaryStackConfig:
    """Settings of `RotaryStack`.

    Attributes:
        width: D.
        layers: number of blocks.
        heads: number of attention heads.
        mlp_ratio: hidden width of the MLPs as a multiple of D, rounded down.
        activation: activation of the MLPs.
    """

    width: int = 1280
    layers: int = 4
    heads: int = 16
    mlp_ratio: float = 4.0
    activation: Activation = "quick_gelu"

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width // self.heads % 4:
            raise ConfigError(
                f"width {self.width} must divide into {self.heads} heads whose width is a multiple of 4: half of a head is "
                "rotated by the row, half by the column."
            )


class _RotaryAttention(SelfAttention):
    """Self-attention whose queries and keys are rotated by the angles of their positions."""

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Attention over `[B, L, D]`, with rotation by `angles` float32 `[L, d]`."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, L, d]
        cos, sin = angles.cos(), angles.sin()
        q, k = (rotate(part.float(), cos, sin, "halves").to(v.dtype) for part in (q, k))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _RotaryBlock(ViTBlock):
    def __init__(self, c: RotaryStackConfig) -> None:
        super().__init__(c.width, c.heads, mlp_ratio=c.mlp_ratio, eps=1e-6)
        self.attention = _RotaryAttention(c.width, c.heads)
        self.mlp[1] = activation(c.activation)


class RotaryStack(nn.Module):
    """ViT blocks over a grid, with rotary embeddings of rows and columns; `[B, L, D]`."""

    def __init__(self, config: RotaryStackConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(_RotaryBlock(config) for _ in range(config.layers))

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Apply the blocks to `x [B, L, D]`, whose positions are those of `grid` (h, w), row by row."""
        angles = grid_angles(grid, self.config.width // self.config.heads, x.device)
        for block in self.blocks:
            x = block(x, angles)
        return x


def grid_angles(grid: tuple[int, int], head_width: int, device: torch.device) -> Tensor:
    """Angles float32 `[L, d]` in radians: d/4 of the row, d/4 of the column, and the same again.

    Frequencies fall geometrically from 1 to nearly 10^-4 radians for each row or column.
    """
    quarter = head_width // 4
    speeds = 10000.0 ** -(torch.arange(quarter, dtype=torch.float32, device=device) / quarter)
    rows, columns = (torch.arange(n, dtype=torch.float32, device=device)[:, None] * speeds for n in grid)  # [h, d / 4]
    both = torch.cat([rows[:, None].expand(-1, grid[1], -1), columns[None].expand(grid[0], -1, -1)], dim=-1)  # [h, w, d / 2]
    return both.flatten(0, 1).repeat(1, 2)


@dataclass(frozen=True, kw_only=True)
class Qwen2TowerConfig(RotaryStackConfig):
    """Settings of `Qwen2Tower`; the defaults are those of the 600 M tower of Qwen2-VL 7B (feature_dim 3584).

    Attributes:
        width, layers, heads, mlp_ratio, activation: as in `RotaryStackConfig`.
        patch_size: side of a patch in pixels.
        merge: m: m x m patches are merged into one feature.
        feature_dim: width of the output features.
    """

    layers: int = 32
    patch_size: int = 14
    merge: int = 2
    feature_dim: int = 3584

    @property
    def stride(self) -> int:
        """Pixels from one feature to the next."""
        return self.patch_size * self.merge


class Qwen2Tower(nn.Module):
    """Normalised pictures `[B, 3, H, W]`, H and W multiples of `stride`, to features `[B, H W / stride^2, feature_dim]`."""

    def __init__(self, config: Qwen2TowerConfig) -> None:
        super().__init__()
        self.config = c = config
        inner = c.merge**2 * c.width
        self.patch_embed = nn.Conv2d(3, c.width, c.patch_size, stride=c.patch_size, bias=False)
        self.stack = RotaryStack(c)
        self.merge_norm = nn.LayerNorm(c.width, eps=1e-6)
        self.merger = nn.Sequential(nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, c.feature_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, H W / stride^2, feature_dim]`, row by row, of normalised pictures `[B, 3, H, W]`."""
        x = self.patch_embed(x)  # [B, D, h, w]
        h, w, m = x.shape[2], x.shape[3], self.config.merge
        y = self.merge_norm(self.stack(x.flatten(2).transpose(1, 2), (h, w)))  # [B, L, D]
        y = y.unflatten(1, (h // m, m, w // m, m)).permute(0, 1, 3, 2, 4, 5)  # [B, h / m, w / m, m, m, D]
        return self.merger(y.flatten(3).flatten(1, 2))
