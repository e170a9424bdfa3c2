"""A U-Net of convolutions around a transformer, conditioned on time and codes: the other diffusion decoder of 4M.

Hoogeboom et al. 2023, "simple diffusion", arXiv 2301.11093 (U-ViT); modulation by the time as in DiT (arXiv 2212.09748); long skips:
Bao et al. 2022, arXiv 2209.12152. Parity checked against apple/ml-4m @ cda590faa3, fourm/vq/models/uvit.py `UViT`.

Letters: B batch, C channels, H W of the picture, D width of codes, h w their grid, E width of the time's vector, L positions of
the middle.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.vit import SelfAttention
from ...recomputable import Recomputable
from .adm_unet import Resample, Step, TimedResBlock, UNetConfig
from .diffusion import time_waves


@dataclass(frozen=True, kw_only=True)
class UViTConfig:
    """Settings of `UViT`; the defaults are those of 4M's `uvit_b_p4_f16`.

    Attributes:
        channels: channels of the convolutions at each level, from the finest; each level has half the side of the one before.
        blocks: residual blocks of a level on the way down; one more on the way up.
        halve_before_middle: halve once more before the transformer, which then runs over a grid of half the side.
        width, layers, heads: channels, layers and attention heads of the transformer.
        mlp_ratio: hidden width of its MLPs as a multiple of `width`.
        qkv_bias: bias of queries, keys and values.
        long_skips: each layer of the second half also reads the output of its mirror layer in the first; needs an odd number of layers.
        condition: codes are added to the positions of their patch ("add"), or read by cross-attention in every layer ("cross").
        position_grid: side of the grid that the position table is made for; others stretch it.
        groups: number of groups of every GroupNorm.
        dropout: dropout probability after attention and MLPs of the transformer.
        zero_init: the last convolution of every residual block, and the gates of the transformer, start at zero.
    """

    channels: tuple[int, ...] = (128, 256)
    blocks: int = 2
    halve_before_middle: bool = True
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    long_skips: bool = False
    condition: Literal["add", "cross"] = "add"
    position_grid: int = 32
    groups: int = 32
    dropout: float = 0.2
    zero_init: bool = True

    def __post_init__(self) -> None:
        if self.width % 4 or self.width % self.heads:
            raise ConfigError(f"width is {self.width}; it must be a multiple of 4 and of heads, {self.heads}.")
        if self.long_skips and self.layers % 2 == 0:
            raise ConfigError(f"layers is {self.layers}; long skips need an odd number.")

    @property
    def stride(self) -> int:
        """Patches on a side of one position of the middle."""
        return 2 ** (len(self.channels) - 1 + self.halve_before_middle)


class CrossAttention(nn.Module):
    """Cross-attention of positions `[B, L, D]` to codes `[B, M, D_c]`, softmax(q k' / sqrt(head width)) v."""

    def __init__(self, width: int, context: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(width, width, bias=bias), nn.Linear(context, 2 * width, bias=bias)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Attend from positions `[B, L, D]` to codes `[B, M, D_c]`; returns `[B, L, D]`."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, D / heads]
        k, v = self.kv(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class TimedBlock(nn.Module, Recomputable):
    """Self-attention, cross-attention (if any) and an MLP, each shifted, scaled and gated by the time; `[B, L, D]`."""

    def __init__(self, c: UViTConfig, time: int, *, context: int = 0, skip: bool = False) -> None:
        super().__init__()
        d, hidden = c.width, int(c.width * c.mlp_ratio)
        self.skip = nn.Linear(2 * d, d) if skip else None
        self.attention_norm, self.attention = nn.LayerNorm(d), SelfAttention(d, c.heads, qkv_bias=c.qkv_bias)
        self.cross_norm = self.context_norm = self.cross_attention = None
        if context:
            self.cross_norm, self.context_norm = nn.LayerNorm(d), nn.LayerNorm(context)
            self.cross_attention = CrossAttention(d, context, c.heads, bias=c.qkv_bias)
        self.mlp_norm = nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d))
        self.dropout = nn.Dropout(c.dropout)
        branches = 3 if context else 2
        self.modulation, self.gates = nn.Linear(time, 2 * branches * d), nn.Linear(time, branches * d)
        if c.zero_init:
            nn.init.zeros_(self.gates.weight)
            nn.init.zeros_(self.gates.bias)

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None = None, before: Tensor | None = None) -> Tensor:
        """Transform `[B, L, D]`; `time` is `[B, E]` after its activation, `before` `[B, L, D]` comes from a long skip."""
        if self.skip is not None:
            assert before is not None
            x = self.skip(torch.cat([x, before], dim=-1))
        d = x.shape[-1]
        moves = self.modulation(time)[:, None].unflatten(-1, (-1, 2, d)).unbind(2)  # (shift, scale) of each branch
        gates = self.gates(time)[:, None].unflatten(-1, (-1, d)).unbind(2)

        def moved(y: Tensor, branch: int) -> Tensor:
            return y * (1 + moves[branch][:, :, 1]) + moves[branch][:, :, 0]

        x = x + gates[0] * self.dropout(self.attention(moved(self.attention_norm(x), 0)))
        if self.cross_attention is not None:
            assert self.cross_norm is not None and self.context_norm is not None
            y = moved(self.cross_norm(x), 1)
            x = x + gates[1] * self.dropout(self.cross_attention(y, self.context_norm(context)))
        return x + gates[-1] * self.dropout(self.mlp(moved(self.mlp_norm(x), len(moves) - 1)))


class Middle(nn.Module):
    """The transformer over a grid `[B, C, h, w]`, conditioned on codes `[B, D, h', w']`."""

    positions: Tensor
    mask_token: Tensor

    def __init__(self, c: UViTConfig, codes: int, time: int) -> None:
        super().__init__()
        self.config = c
        self.register_buffer("positions", moco_positions(c.position_grid, c.width))  # [D, g, g]
        self.enter, self.leave = nn.Linear(c.channels[-1], c.width), nn.Linear(c.width, c.channels[-1])
        cross = c.condition == "cross"
        self.codes = None if cross else nn.Linear(codes, c.width)
        if not cross:  # replaces dropped codes in the authors' training with guidance, which is not implemented here
            self.register_buffer("mask_token", torch.zeros(c.width))
        late = [c.long_skips and i > c.layers // 2 for i in range(c.layers)]
        self.layers = nn.ModuleList(TimedBlock(c, time, context=codes if cross else 0, skip=skip) for skip in late)

    def forward(self, x: Tensor, time: Tensor, codes: Tensor) -> Tensor:
        """Transform `[B, C, h, w]` with the time's vector `[B, E]` and codes `[B, D, h', w']`."""
        size = (x.shape[2], x.shape[3])
        y = self.enter(x.flatten(2).transpose(1, 2))  # [B, L, D]
        if self.codes is not None:
            y = y + self.codes(F.interpolate(codes, size, mode="nearest").flatten(2).transpose(1, 2))
            at, context = F.interpolate(self.positions[None], size, mode="bicubic", align_corners=False), None
        else:
            at, context = F.interpolate(self.positions[None], size, mode="nearest"), codes.flatten(2).transpose(1, 2)
        y, kept, half = y + at.flatten(2).transpose(1, 2), [], len(self.layers) // 2
        for i, layer in enumerate(self.layers):
            y = layer(y, time, context, kept.pop() if layer.skip is not None else None)
            if self.config.long_skips and i < half:
                kept.append(y)
        return self.leave(y).transpose(1, 2).unflatten(2, size)


class UViT(nn.Module):
    """Maps pictures `[B, C, H, W]` at times `[B]`, with codes `[B, D, h, w]`, to `[B, C, H, W]`."""

    def __init__(self, config: UViTConfig, channels: int, codes: int, patch: int) -> None:
        super().__init__()
        self.config = c = config
        first, last = c.channels[0], len(c.channels) - 1
        blocks = UNetConfig(width=first, multipliers=tuple(n / first for n in c.channels), groups=c.groups, zero_init=c.zero_init)
        self.stem = nn.Conv2d(channels, first, patch, stride=patch)
        self.time = nn.Sequential(nn.Linear(first, 4 * first), nn.SiLU(), nn.Linear(4 * first, 4 * first))
        now, skips, down = first, [first], []
        for level, width in enumerate(c.channels):
            for _ in range(c.blocks):
                down.append(Step(TimedResBlock(blocks, now, width)))
                now = width
                skips.append(now)
            if level < last:
                down.append(Step(resample=Resample(now, "down", conv=True)))
                skips.append(now)
        self.down = nn.ModuleList(down)
        self.before_middle = Resample(now, "down", conv=True) if c.halve_before_middle else None
        self.middle = Middle(c, codes, 4 * first)
        self.after_middle = Resample(now, "up", conv=True) if c.halve_before_middle else None
        up = []
        for level in reversed(range(len(c.channels))):
            for i in range(c.blocks + 1):
                block = TimedResBlock(blocks, now + skips.pop(), c.channels[level])
                now = c.channels[level]
                up.append(Step(block, resample=Resample(now, "up", conv=True) if level and i == c.blocks else None))
        self.up = nn.ModuleList(up)
        self.norm_out = nn.GroupNorm(c.groups, now)
        self.to_pixels = nn.ConvTranspose2d(now, channels, patch, stride=patch)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not name.endswith(".gates"):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, t: Tensor, codes: Tensor) -> Tensor:
        """Map `[B, C, H, W]` at times `[B]` to `[B, C, H, W]`; H and W are multiples of patch x `config.stride`."""
        time = self.time(time_waves(t, self.config.channels[0]).to(x))
        x = self.stem(x)
        skips = [x]
        for step in self.down:
            x = step(x, time)
            skips.append(x)
        x = x if self.before_middle is None else self.before_middle(x)
        x = self.middle(x, F.silu(time), codes)
        x = x if self.after_middle is None else self.after_middle(x)
        for step in self.up:
            x = step(torch.cat([x, skips.pop()], dim=1), time)
        return self.to_pixels(F.silu(self.norm_out(x)))


def moco_positions(side: int, width: int) -> Tensor:
    """Fixed positions `[width, side, side]` of MoCo-v3 (arXiv 2104.02057): sine and cosine of the row, then of the column."""
    rate = 1 / 10000.0 ** (torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angles = torch.outer(rate, torch.arange(side, dtype=torch.float32))  # [width / 4, side]
    wave = torch.cat([angles.sin(), angles.cos()])
    rows, columns = wave[:, :, None].expand(-1, -1, side), wave[:, None, :].expand(-1, side, -1)
    return torch.cat([rows, columns]).contiguous()
