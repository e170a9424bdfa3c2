"""Pretrained image encoders that semantic tokenizers build on: the ViTs of DINOv2, SigLIP and CLIP.

DINOv2 with registers: Oquab et al. 2023 (arXiv 2304.07193), Darcet et al. 2023 (arXiv 2309.16588). SigLIP: Zhai et al. 2023
(arXiv 2303.15343). CLIP: Radford et al. 2021 (arXiv 2103.00020). Position embeddings are resized to another grid as in
`transformers` 5 (`modeling_dinov2_with_registers.py`), or as in DINO's own code.

Letters: B batch, D width, g grid side, L = g g.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError
from .qformer import Attention
from .vit import ViTBlock, embedding

#: Mean and standard deviation of RGB values in 0..1, with which CLIP and its descendants normalise pictures.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """Settings of `VisionTower`; the defaults are those of DINOv2-base with registers.

    Attributes:
        image_size: side in pixels of the pictures that the position embeddings are made for.
        patch_size: side of a patch in pixels.
        in_channels: number of colours, or of channels of a feature map.
        width: D.
        layers: number of blocks.
        heads: number of attention heads.
        hidden: hidden width of the MLPs.
        class_token: whether a class token comes before the patches; it has its own position embedding.
        registers: number of register tokens after the class token, without position embeddings.
        layer_scale: initial value of the LayerScale of each branch; None: no LayerScale.
        gelu: "none" for the exact GELU, "tanh" for SigLIP, "quick" for CLIP.
        eps: epsilon of the LayerNorms.
        norm_in: whether a LayerNorm comes before the first block (CLIP).
        norm_out: LayerNorm at the end: with gain and bias ("affine"), without ("plain"), or no norm at all ("none").
        patch_bias: whether the patch embedding has a bias (CLIP: no).
        fit: bicubic interpolation of the position embeddings to another grid: "antialias", or "offset": by a factor as if the
            grid were 0.1 positions larger (a safeguard of DINO's against rounding; TokenFlow's CLIP kind). "bilinear": antialiased
            bilinear interpolation (SigLIP 2 for any sizes; TA-Tok's decoder).
    """

    image_size: int = 518
    patch_size: int = 14
    in_channels: int = 3
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    class_token: bool = True
    registers: int = 4
    layer_scale: float | None = 1.0
    gelu: Literal["none", "tanh", "quick"] = "none"
    eps: float = 1e-6
    norm_in: bool = False
    norm_out: Literal["affine", "plain", "none"] = "plain"
    patch_bias: bool = True
    fit: Literal["antialias", "offset", "bilinear"] = "antialias"

    def __post_init__(self) -> None:
        if self.registers and not self.class_token:
            raise ConfigError("registers need a class token before them; set class_token = true or registers = 0.")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads.")


class VisionTower(nn.Module):
    """Pictures `[B, 3, H, W]`, normalised as for the pretrained model (or feature maps), to patch features `[B, L, D]`."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.grid_size = c.image_size // c.patch_size
        self.patch_embed = nn.Conv2d(c.in_channels, c.width, c.patch_size, stride=c.patch_size, bias=c.patch_bias)
        self.positions = embedding(int(c.class_token) + self.grid_size**2, c.width)
        self.class_token = embedding(1, c.width) if c.class_token else None
        self.registers = embedding(c.registers, c.width) if c.registers else None
        self.norm_in = nn.LayerNorm(c.width, eps=c.eps) if c.norm_in else None
        ratio = (c.hidden + 0.5) / c.width  # the blocks multiply it by the width and round down to `hidden`
        self.blocks = nn.ModuleList(
            ViTBlock(c.width, c.heads, mlp_ratio=ratio, layer_scale=c.layer_scale, eps=c.eps, gelu=c.gelu) for _ in range(c.layers)
        )
        affine = c.norm_out == "affine"
        self.norm_out = None if c.norm_out == "none" else nn.LayerNorm(c.width, eps=c.eps, elementwise_affine=affine)

    def embed(self, x: Tensor) -> Tensor:
        """Input sequence `[B, prefix + L, D]` of the first block; the prefix is the class token and the registers."""
        y = self.patch_embed(x)
        grid = self._grid_positions(y.shape[2], y.shape[3])
        y = y.flatten(2).transpose(1, 2) + grid
        if self.class_token is None:
            return y
        parts = [self.class_token + self.positions[:1]] + ([] if self.registers is None else [self.registers])
        return torch.cat([torch.cat(parts).expand(len(y), -1, -1), y], dim=1)

    def forward(self, x: Tensor, *, patches_only: bool = True) -> Tensor:
        """Patch features `[B, L, D]`; without `patches_only` class token and registers come first, `[B, prefix + L, D]`."""
        y = self.embed(x)
        y = y if self.norm_in is None else self.norm_in(y)
        for block in self.blocks:
            y = block(y)
        y = y if self.norm_out is None else self.norm_out(y)
        return y[:, int(self.config.class_token) + self.config.registers :] if patches_only else y

    def _grid_positions(self, h: int, w: int) -> Tensor:
        table = self.positions[int(self.config.class_token) :]  # [g g, D]
        if (h, w) == (self.grid_size, self.grid_size):
            return table
        square = table.t().unflatten(1, (self.grid_size, self.grid_size))[None].float()  # [1, D, g, g]
        if self.config.fit == "offset":
            factors = ((h + 0.1) / self.grid_size, (w + 0.1) / self.grid_size)
            fitted = F.interpolate(square, scale_factor=factors, mode="bicubic")
        else:
            mode = "bilinear" if self.config.fit == "bilinear" else "bicubic"
            fitted = F.interpolate(square, size=(h, w), mode=mode, align_corners=False, antialias=True)
        return fitted[0].flatten(1).t().to(table.dtype)


class AttentionPool(nn.Module):
    """SigLIP's attention pooling: one learned query attends to features `[B, L, D]`, then an MLP; output `[B, D]`."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.query = embedding(1, width)
        self.attention = Attention(width, config.heads)
        self.norm = nn.LayerNorm(width, eps=config.eps)
        gelu = nn.GELU(approximate=config.gelu)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), gelu, nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """One vector `[B, D]` for each picture, of its features `[B, L, D]`."""
        y = self.attention(self.query.expand(len(x), -1, -1), x, x)  # [B, 1, D]
        return (y + self.mlp(self.norm(y)))[:, 0]
