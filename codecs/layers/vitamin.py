"""ViTamin encoder (convolutions down to a grid of stride 16, then a ViT with gated MLPs), and a decoder in reverse order.

Encoder: Chen et al. 2024, "Designing Scalable Vision Models in the Vision-Language Era", arXiv 2404.02132 (in timm as `vitamin_*`).
Decoder: UniTok's (arXiv 2502.20321; FoundationVision/UniTok @ bb8012e8e8, MIT, models/vitamin.py). There are no position
embeddings: the convolutions provide positions.

Letters: B batch, H W pixels, h w grid, C channels, D width, Q queries, L = Q + h w.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError
from ..recomputable import Recomputable
from .attention_projection import GatedMLP
from .vit import SelfAttention, embedding

EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class ViTaminConfig:
    """Settings of `ViTaminEncoder` and `ViTaminDecoder`; the defaults are ViTamin-L.

    Attributes:
        stem_width: number of channels of the stem, at stride 2.
        conv_widths, conv_blocks: numbers of channels and of blocks of the stages at stride 4 and 8.
        width: D.
        layers: number of blocks of the ViT.
        heads: number of its attention heads.
        mlp_ratio: hidden width of its gated MLPs as a multiple of D.
        gelu: GELU of the gated MLPs: its approximation by a "tanh" (UniTok), or the exact one ("none": timm).
        norm_out: whether a LayerNorm follows the encoder's last block (timm with mean pooling: no).
        queries: Q, number of learned vectors before the grid.
        drop_path: training only: probability that a branch of an item is dropped in the last block; it grows linearly from 0 in
            the first one.
        decoder_blocks: numbers of blocks of the decoder's stages at stride 8 and 4.
    """

    stem_width: int = 160
    conv_widths: tuple[int, int] = (160, 320)
    conv_blocks: tuple[int, int] = (2, 4)
    width: int = 1024
    layers: int = 31
    heads: int = 16
    mlp_ratio: float = 2.0
    gelu: Literal["tanh", "none"] = "tanh"
    norm_out: bool = True
    queries: int = 0
    drop_path: float = 0.0
    decoder_blocks: tuple[int, int] = (4, 2)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads.")
        if min(*self.conv_blocks, *self.decoder_blocks) < 1:
            raise ConfigError("each stage needs a block that resizes the grid: conv_blocks and decoder_blocks must be at least 1.")

    @property
    def stride(self) -> int:
        """Pixels from one position to the next."""
        return 16


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of `[B, C, H, W]` at each position."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`; the shape stays."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class UpConv(nn.Conv2d):
    """Repeat each position 2 x 2, then a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, C', 2 H, 2 W]`."""
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class _DownShortcut(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False))


class MBConv(nn.Module):
    """norm, 1x1 convolution to 4 C', depthwise 3x3, 1x1 to C', plus the input; `[B, C, H, W]` to `[B, C', H', W']`.

    Args:
        in_channels, out_channels: C and C'.
        resample: "down" halves the grid in the depthwise convolution, "up" doubles it before that one, "none" keeps it.
    """

    def __init__(self, in_channels: int, out_channels: int, resample: str = "none") -> None:
        super().__init__()
        inner = 4 * out_channels
        if resample == "none":
            same = in_channels == out_channels
            self.shortcut: nn.Module = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        else:
            self.shortcut = (_DownShortcut if resample == "down" else UpConv)(in_channels, out_channels)
        self.norm = ChannelNorm(in_channels, eps=EPS)
        self.expand = nn.Conv2d(in_channels, inner, 1)
        self.up = UpConv(inner, inner) if resample == "up" else nn.Identity()
        self.depthwise = nn.Conv2d(inner, inner, 3, stride=2 if resample == "down" else 1, padding=1, groups=inner)
        self.project = nn.Conv2d(inner, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, C', H', W']`, H' and W' by `resample`."""
        y = self.up(F.gelu(self.expand(self.norm(x))))
        return self.shortcut(x) + self.project(F.gelu(self.depthwise(y)))


class GatedBlock(nn.Module, Recomputable):
    """x + attention(norm(x)), then x + gated MLP(norm(x)); `[B, L, D]`. `drop_path` as in `ViTaminConfig`."""

    def __init__(self, width: int, heads: int, *, mlp_ratio: float, drop_path: float = 0.0, gelu: str = "tanh") -> None:
        super().__init__()
        self.drop_path = drop_path
        self.attention_norm = nn.LayerNorm(width, eps=EPS)
        self.attention = SelfAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=EPS)
        self.gated = GatedMLP(width, int(width * mlp_ratio), gelu=gelu)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `[B, L, D]`; the shape stays."""
        x = x + self._kept(self.attention(self.attention_norm(x)))
        return x + self._kept(self.gated(self.mlp_norm(x)))

    def _kept(self, branch: Tensor) -> Tensor:
        """Drop path: the branch `[B, L, D]`, set to 0 for some items and scaled for the others so that its mean stays."""
        if not self.drop_path or not (self.training and torch.is_grad_enabled()):
            return branch
        keep = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * keep / (1 - self.drop_path)


def _transformer(c: ViTaminConfig) -> nn.Sequential:
    rates = [c.drop_path * i / max(1, c.layers - 1) for i in range(c.layers)]
    return nn.Sequential(*(GatedBlock(c.width, c.heads, mlp_ratio=c.mlp_ratio, drop_path=r, gelu=c.gelu) for r in rates))


class ViTaminEncoder(nn.Module):
    """Pictures `[B, 3, H, W]`, H and W multiples of 16, to features `[B, L, D]`, queries first."""

    def __init__(self, config: ViTaminConfig) -> None:
        super().__init__()
        self.config = c = config
        self.stem = nn.Sequential(
            nn.Conv2d(3, c.stem_width, 3, stride=2, padding=1),
            ChannelNorm(c.stem_width, eps=EPS),
            nn.GELU(),
            nn.Conv2d(c.stem_width, c.stem_width, 3, padding=1),
        )
        ins = (c.stem_width, *c.conv_widths)
        self.stages = nn.ModuleList(
            nn.Sequential(*(MBConv(ins[s] if i == 0 else width, width, "none" if i else "down") for i in range(count)))
            for s, (width, count) in enumerate(zip(c.conv_widths, c.conv_blocks, strict=True))
        )
        self.patch_norm = ChannelNorm(c.conv_widths[-1], eps=EPS)
        self.patches = nn.Conv2d(c.conv_widths[-1], c.width, 3, stride=2, padding=1)
        self.queries = embedding(c.queries, c.width) if c.queries else None
        self.blocks = _transformer(c)
        self.norm_out = nn.LayerNorm(c.width, eps=EPS) if c.norm_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, L, D]`, queries first, of pictures `[B, 3, H, W]`."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        y = self.patches(self.patch_norm(x)).flatten(2).transpose(1, 2)  # [B, h w, D]
        if self.queries is not None:
            y = torch.cat([self.queries.expand(len(y), -1, -1), y], dim=1)
        return self.norm_out(self.blocks(y))


class ViTaminDecoder(nn.Module):
    """Features `[B, L, D]` of a square grid, queries first, to pictures `[B, 3, H, W]`."""

    def __init__(self, config: ViTaminConfig) -> None:
        super().__init__()
        self.config = c = config
        fine, coarse = c.conv_widths
        self.blocks = _transformer(c)
        self.norm_out = nn.LayerNorm(c.width, eps=EPS)
        self.up = UpConv(c.width, coarse)
        first, second = c.decoder_blocks
        self.stages = nn.ModuleList(
            [
                nn.Sequential(*(MBConv(coarse, coarse, "none" if i else "up") for i in range(first))),
                nn.Sequential(*(MBConv(fine if i else coarse, fine, "none" if i else "up") for i in range(second))),
            ]
        )
        self.head = nn.Sequential(UpConv(fine, fine), ChannelNorm(fine, eps=EPS), nn.GELU(), nn.Conv2d(fine, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` of features `[B, L, D]` of a square grid, queries first."""
        y = self.norm_out(self.blocks(x)[:, self.config.queries :])
        side = round(y.shape[1] ** 0.5)
        z = self.up(y.transpose(1, 2).unflatten(2, (side, side)))
        for stage in self.stages:
            z = stage(z)
        return self.head(z)
