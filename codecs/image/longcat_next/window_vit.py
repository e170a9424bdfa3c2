"""Vision tower for pictures of any size: windows in most layers, the whole picture in some, 2-D rotary positions.

Bai et al. 2025, Qwen2.5-VL (arXiv 2502.13923); order of operations as in `transformers` 5 (`modeling_qwen2_5_vl.py`,
Apache-2.0), where windows run through variable-length attention; here each shape of window is one batch.

Letters: B batch, H W pixels, h w grid of patches, D width, d head width, L = h w.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.rotary_vit import rotate
from ...recomputable import Recomputable


@dataclass(frozen=True, kw_only=True)
class WindowTowerConfig:
    """Settings of `WindowTower`; the defaults are those of Qwen2.5-VL.

    Attributes:
        patch_size: pixels on a side of a patch.
        width: D, channels of the transformer.
        layers, heads: number of layers and of attention heads.
        hidden: hidden width of the gated MLPs.
        window: patches on a side of a window; windows at the right and lower edge are smaller.
        whole_layers: layers that attend over the whole picture.
    """

    patch_size: int = 14
    width: int = 1280
    layers: int = 32
    heads: int = 16
    hidden: int = 3420
    window: int = 8
    whole_layers: tuple[int, ...] = (7, 15, 23, 31)

    def __post_init__(self) -> None:
        if self.width % (4 * self.heads):
            raise ConfigError(f"width {self.width} must be a multiple of 4 heads, {4 * self.heads}: rows and columns rotate pairs.")
        if self.window < 1:
            raise ConfigError(f"window is {self.window}; it counts patches, from 1.")


class WindowBlock(nn.Module, Recomputable):
    """x + attention(RMSNorm(x)), then x + SwiGLU(RMSNorm(x)), over a grid `[B, h, w, D]`.

    Args:
        config: settings of the tower.
        window: patches on a side of the windows within which patches attend to one another; 0: all attend to all.
    """

    def __init__(self, config: WindowTowerConfig, *, window: int) -> None:
        super().__init__()
        width = config.width
        self.heads, self.window = config.heads, window
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-6)
        self.gate, self.up = nn.Linear(width, config.hidden), nn.Linear(width, config.hidden)
        self.down = nn.Linear(config.hidden, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Transform a grid `[B, h, w, D]`; `cos` and `sin` are `[h, w, d]`."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))  # [B, h, w, 3, heads, d]
        q, k, v = qkv.unbind(3)
        q, k = (rotate(y, cos[:, :, None], sin[:, :, None], "halves") for y in (q, k))
        x = x + self.out(self._attend(torch.stack([q, k, v])))
        y = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))

    def _attend(self, qkv: Tensor) -> Tensor:
        """Attention output `[B, h, w, D]` of queries, keys and values `[3, B, h, w, heads, d]`."""
        h, w = qkv.shape[2:4]
        if not self.window:
            return self._regions(qkv, h, w)
        return torch.cat(
            [
                torch.cat([self._regions(qkv[:, :, t:b, l:r], high, wide) for l, r, wide in _edges(w, self.window)], dim=2)
                for t, b, high in _edges(h, self.window)
            ],
            dim=1,
        )

    def _regions(self, qkv: Tensor, high: int, wide: int) -> Tensor:
        """Attention within windows of `high` x `wide` patches that fill the grid, `[3, B, h, w, heads, d]` to `[B, h, w, D]`."""
        batch, h, w = qkv.shape[1:4]
        parts = qkv.unflatten(3, (w // wide, wide)).unflatten(2, (h // high, high))  # [3, B, rows, high, columns, wide, heads, d]
        parts = parts.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 6).flatten(1, 3)  # [3, B rows columns, heads, high wide, d]
        q, k, v = parts
        y = F.scaled_dot_product_attention(q, k, v)
        y = y.unflatten(2, (high, wide)).unflatten(0, (batch, h // high, w // wide))
        return y.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4).flatten(1, 2)  # [B, h, w, D]


class WindowTower(nn.Module):
    """Pictures `[B, 3, H, W]`, normalised, to patch features `[B, h, w, D]`, without a final norm."""

    def __init__(self, config: WindowTowerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.patch_embed = nn.Conv2d(3, c.width, c.patch_size, stride=c.patch_size, bias=False)
        self.blocks = nn.ModuleList(WindowBlock(c, window=0 if i in c.whole_layers else c.window) for i in range(c.layers))

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, h, w, D]` of pictures `[B, 3, H, W]`."""
        y = self.patch_embed(x).permute(0, 2, 3, 1)  # [B, h, w, D]
        cos, sin = grid_rotations(y.shape[1], y.shape[2], self.config.width // self.config.heads)
        cos, sin = cos.to(y), sin.to(y)
        for block in self.blocks:
            y = block(y, cos, sin)
        return y


def grid_rotations(h: int, w: int, head_width: int, *, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[h, w, d]`: the first quarter of the channels is rotated by the row, the second by the column.

    The second half of the channels repeats the first, as `rotate(..., "halves")` expects.
    """
    quarter = head_width // 4
    rate = theta ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
    rows = torch.arange(h, dtype=torch.float32)[:, None, None] * rate
    columns = torch.arange(w, dtype=torch.float32)[None, :, None] * rate
    angles = torch.cat([rows.expand(h, w, -1), columns.expand(h, w, -1)] * 2, dim=-1)
    return angles.cos(), angles.sin()


def _edges(count: int, window: int) -> list[tuple[int, int, int]]:
    """(start, stop, window) of the part that whole windows fill, and of the rest."""
    full = count // window * window
    return [e for e in ((0, full, window), (full, count, count - full)) if e[1] > e[0]]
