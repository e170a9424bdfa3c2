"""DualToken: one SigLIP tower, two residual quantizers: pixel codes from its early layers, semantic codes from its late ones.

Song et al. 2025, "DualToken: Towards Unifying Visual Understanding and Generation with Dual Visual Vocabularies", arXiv
2503.14324. Parity checked against songweii/DualToken @ 29e7c84d00 (its README says MIT, no licence file; own code from the
published facts), class `RQVAESiglipModel`. Weights are not published.

    layers 1..r  ->  pixel codes     ->  convolutional decoder  ->  pixels
    layers ..s   ->  semantic codes  ->  layers s+1..           ->  features and one vector, as the tower outputs them

The tower encodes pictures `[B, 3, H, W]` to features `[B, N, C]`. An attention projection maps those of layer r, and another those of
layer s, to a few channels; f x f positions are joined to latents `[B, D f f, L]`. Each half has a residual quantizer: ids `[B, K, L]`,
the semantic codebooks first.

Letters: B batch, H W pixels, g grid side of the tower, f side of a cell with one id, L = (g / f)^2, N = g g, C width of the
tower, D = D_s + D_p code width.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...config import ConfigError
from ...layers.attention_projection import AttentionProjection
from ...layers.vision_tower import AttentionPool, TowerConfig, VisionTower
from ...layers.vqgan import DecoderConfig, VQGANDecoder
from ...layers.vqgan_blocks import ResBlock, group_norm
from ...quantizers.base import QuantizerConfig
from ...quantizers.dual import Dual, DualConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer

_RQ = {"num_codebooks": 8, "codebook_size": 16384, "shared_codebook": True, "kmeans_init": False, "commitment_weight": 0.125}


@dataclass(frozen=True, kw_only=True)
class DualTokenConfig:
    """Settings of `DualToken`; the defaults are the authors' model for 384 pixels.

    Attributes:
        tower: settings of SigLIP, with all of its layers.
        pixel_layer, semantic_layer: number of layers before the pixel and before the semantic codes.
        shortcut_layer: a third layer, whose output is mapped and added to the pixel latents times `shortcut_weight`; None: no shortcut.
        pool: whether the tower's last norm and its attention pooling follow its last layer.
        semantic_dim, pixel_dim: D_s and D_p, channels of the latents at each position of the tower.
        fold: f, positions on a side of a cell that has one id of each codebook.
        semantic_quantizer, pixel_quantizer: settings of the two quantizers, of any kind; their `dim`s are filled in.
        decoder: settings of the pixel decoder; see `layers/vqgan.py`.
        decoder_channels: the decoder's input channels.
        decoder_grid: height and width at which it starts; the tower's grid is resized to it. None: the tower's grid.
    """

    tower: TowerConfig = field(
        default_factory=lambda: TowerConfig(
            image_size=384, patch_size=14, width=1152, layers=27, heads=16, hidden=4304, class_token=False, registers=0,
            layer_scale=None, gelu="tanh", norm_out="affine",
        )
    )  # fmt: skip
    pixel_layer: int = 6
    semantic_layer: int = 26
    shortcut_layer: int | None = 4
    shortcut_weight: float = 0.6
    pool: bool = True
    semantic_dim: int = 32
    pixel_dim: int = 32
    fold: int = 1
    semantic_quantizer: QuantizerConfig = ResidualVQConfig(**_RQ)
    pixel_quantizer: QuantizerConfig = ResidualVQConfig(**_RQ)
    decoder: DecoderConfig = DecoderConfig(widths=(128, 128, 512, 512, 1024), attention_levels=(4,))
    decoder_channels: int = 1024
    decoder_grid: tuple[int, int] | None = (24, 24)

    def __post_init__(self) -> None:
        layers, last = {"pixel_layer": self.pixel_layer, "shortcut_layer": self.shortcut_layer}, self.semantic_layer
        for name, value in layers.items():
            if value is not None and not 1 <= value <= last:
                raise ConfigError(f"{name} is {value}; it must lie in 1..semantic_layer = {last}.")
        if not 1 <= last <= self.tower.layers:
            raise ConfigError(f"semantic_layer is {last}; the tower has {self.tower.layers} layers.")
        if self.tower.class_token:
            raise ConfigError("tower.class_token must be false: every position of the tower gets codes.")
        if self.tower.norm_out != ("affine" if self.pool else "none"):
            raise ConfigError(f"tower.norm_out is {self.tower.norm_out!r}; it must be 'affine' with pool, 'none' without.")
        if self.grid_size % self.fold:
            raise ConfigError(f"fold is {self.fold}; it must divide the tower's grid of {self.grid_size}.")

    @property
    def grid_size(self) -> int:
        """The tower's grid side g."""
        return self.tower.image_size // self.tower.patch_size


class DualToken(ImageTokenizer):
    """ids `[B, K, L]`: codebooks "semantic", then "pixel", each a residual stack over the same positions."""

    family: ClassVar[str] = "dualtoken"
    config_class: ClassVar[type] = DualTokenConfig
    encoder_only = ("tower", "to_semantic", "to_pixel", "to_shortcut", "pool")
    decoder_only = ("from_pixel", "decoder_in", "decoder", "from_semantic")
    config: DualTokenConfig
    quantizer: Dual

    def __init__(self, config: DualTokenConfig) -> None:
        super().__init__()
        self.config = c = config
        width, cell = c.tower.width, c.fold**2
        self.tower = VisionTower(c.tower)
        self.to_semantic = AttentionProjection(width, c.semantic_dim)
        self.to_pixel = AttentionProjection(width, c.pixel_dim)
        self.to_shortcut = None if c.shortcut_layer is None else AttentionProjection(width, c.pixel_dim)
        self.quantizer = Dual(
            DualConfig(
                dim=cell * (c.semantic_dim + c.pixel_dim),
                first=_with_dim(c.semantic_quantizer, cell * c.semantic_dim),
                second=_with_dim(c.pixel_quantizer, cell * c.pixel_dim),
            )
        )
        self.from_semantic = AttentionProjection(c.semantic_dim, width, causal=True)
        self.from_pixel = AttentionProjection(c.pixel_dim, width, causal=True)
        self.pool = AttentionPool(c.tower) if c.pool else None
        norms = group_norm(width, c.decoder.groups), group_norm(c.decoder_channels, c.decoder.groups)
        self.decoder_in = ResBlock(width, c.decoder_channels, *norms, first_kernel=1)
        self.decoder = VQGANDecoder(c.decoder, c.decoder_channels)
        books = self.quantizer.first.num_codebooks, self.quantizer.second.num_codebooks
        self.spec = ImageSpec.of(
            self.quantizer,
            names=("semantic",) * books[0] + ("pixel",) * books[1],
            stride=c.tower.patch_size * c.fold,
            image_size=(c.tower.image_size, c.tower.image_size),
            resize="crop",
            semantic_dim=width,
        )

    def grid_of(self, x: Tensor) -> tuple[int, int]:
        """Rows and columns of the ids, (g / f, g / f)."""
        side = self.config.grid_size // self.config.fold
        return side, side

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D f f, L]`, semantic channels first, of pictures `[B, 3, H, W]` in -1..1."""
        c, y = self.config, self.tower.embed(x)  # [B, N, C]
        parts: dict[str, Tensor] = {}
        for i, block in enumerate(self.tower.blocks[: c.semantic_layer], start=1):
            y = block(y)
            if i == c.pixel_layer:
                parts["pixel"] = self.to_pixel(y)
            if i == c.shortcut_layer and self.to_shortcut is not None:
                parts["shortcut"] = c.shortcut_weight * self.to_shortcut(y)
        pixel = parts["pixel"] + parts["shortcut"] if "shortcut" in parts else parts["pixel"]
        return torch.cat([self._folded(self.to_semantic(y)), self._folded(pixel)], dim=1)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H', W']` of latents `[B, D f f, L]`; H' and W' are the decoder's grid times its stride."""
        c, g = self.config, self.config.grid_size
        y = self.from_pixel(self._unfolded(z_q[:, self.quantizer.first.dim :], c.pixel_dim))  # [B, N, C]
        y = y.transpose(1, 2).unflatten(2, (g, g))
        if c.decoder_grid is not None:
            y = F.interpolate(y, size=c.decoder_grid, mode="bilinear")
        return self.decoder(self.decoder_in(y))

    def decode_features(self, z_q: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Decode latents `[B, D f f, L]` to the tower's features.

        Returns:
            (reconstructed features of the semantic layer `[B, N, C]`, features of the last layer `[B, N, C]`, one vector a
            picture `[B, C]`, or None without `pool`).
        """
        features = self.from_semantic(self._unfolded(z_q[:, : self.quantizer.first.dim], self.config.semantic_dim))
        last = self._last_layer(features)
        return features, last, None if self.pool is None else self._pooled(last)

    def _last_layer(self, features: Tensor) -> Tensor:
        """Features `[B, N, C]` of the last layer, computed from those of the semantic layer, `[B, N, C]`."""
        for block in self.tower.blocks[self.config.semantic_layer :]:
            features = block(features)
        return features

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Reconstructed features `[B, C, N]` of the semantic layer, of ids `[B, K, L]`."""
        z_q = self.vectors_of(ids, grid)[:, : self.quantizer.first.dim]
        return self.from_semantic(self._unfolded(z_q, self.config.semantic_dim)).transpose(1, 2)

    def pooled_of(self, features: Tensor) -> Tensor:
        """One vector a picture, `[B, C]`, of features `[B, C, N]`."""
        if self.pool is None:
            return super().pooled_of(features)
        return self._pooled(self._last_layer(features.transpose(1, 2)))

    def _pooled(self, last: Tensor) -> Tensor:
        """One vector a picture, `[B, C]`, of features of the last layer `[B, N, C]`; with `pool` the tower has a norm at its end."""
        assert self.pool is not None and self.tower.norm_out is not None
        return self.pool(self.tower.norm_out(last))

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; features "semantic" and "last" are `[B, C, N]`, "pooled" `[B, C, 1]`."""
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=self.grid_of(x))
        semantic, last, pooled = self.decode_features(quantized.z_q)
        features = {"semantic": semantic.transpose(1, 2), "last": last.transpose(1, 2)}
        if pooled is not None:
            features["pooled"] = pooled.unsqueeze(2)
        return Reconstruction(x_hat=self.decode_latents(quantized.z_q), z=z, quantized=quantized, features=features)

    def _folded(self, x: Tensor) -> Tensor:
        """Concatenate the channels of the f x f positions of each cell: `[B, N, d]` to `[B, f f d, L]`."""
        f, side = self.config.fold, self.config.grid_size // self.config.fold
        x = x.unflatten(1, (side, f, side, f)).transpose(2, 3)  # [B, g / f, g / f, f, f, d]
        return x.flatten(3).flatten(1, 2).transpose(1, 2)

    def _unfolded(self, z: Tensor, width: int) -> Tensor:
        """Inverse of `_folded`: `[B, f f d, L]` to `[B, N, d]`."""
        f, side = self.config.fold, self.config.grid_size // self.config.fold
        x = z.transpose(1, 2).reshape(len(z), side, side, f, f, width).transpose(2, 3)
        return x.flatten(1, 4)


def _with_dim(config: QuantizerConfig, dim: int) -> QuantizerConfig:
    if config.dim not in (0, dim):
        raise ConfigError(f"a quantizer's dim is {config.dim}, but its latents are {dim} wide; leave dim out.")
    return dataclasses.replace(config, dim=dim)
