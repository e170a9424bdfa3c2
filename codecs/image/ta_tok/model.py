"""TA-Tok: ids of SigLIP 2's features, aligned with a language model's words; decoded to features, not to pixels.

Han et al. 2025, "Vision as a Dialect: Unifying Visual Understanding and Generation via Text-Aligned Representations" (Tar), arXiv
2506.18898; checked against csuhan/Tar @ 47da8e15ee (Apache-2.0), class `TextAlignedTokenizer`.

A picture, resized to one side, goes through a ViT up to its last layer but one. Its grid of features is averaged over `pool` x `pool`
cells, 1, 2 or 3, chosen at each call: 729, 169 or 81 ids. The code is the nearest row of a table behind one linear map (SimVQ; the
authors began with the embeddings of a language model's words). A small transformer decodes the codes to the ViT's features, which
`semantic` returns. Pixels come from an autoregressive or a diffusion model beside it (AR-DTok, Dif-DTok), which is not implemented
here.

In training the pooling is drawn for each batch, and the decoded features are compared with those of the frozen ViT, of which a second
copy is the teacher. Differs: the authors' training code is not public; their class also draws ids from the softmax of the similarities,
if its config says so; here, as in their use of it, the id is that of the nearest row.

Letters: B batch, H W pixels, g side of the ViT's grid, h w pooled grid, C width of the ViT, D width of the codes, L = h w.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...config import ConfigError
from ...layers.vision_tower import TowerConfig, VisionTower
from ...media import Prepared
from ...options import ImageEncodeOptions, check_at_least
from ...quantizers.base import QuantizerConfig
from ...quantizers.simvq import SimVQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class TATokConfig:
    """Settings of `TATok`; the defaults are those of SigLIP 2 so400m at 384 pixels.

    Attributes:
        tower: the ViT, without the layers after the one whose output is read.
        decoder: the transformer from codes to features, patch 1; its `in_channels` is D.
        pool: cells on a side that are averaged, where `encode` is called without.
        pools: the poolings that training draws from.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    tower: TowerConfig = field(
        default_factory=lambda: TowerConfig(
            image_size=384, patch_size=14, width=1152, layers=26, heads=16, hidden=4304, class_token=False, registers=0,
            layer_scale=None, gelu="tanh", norm_out="none",
        )
    )  # fmt: skip
    decoder: TowerConfig = field(
        default_factory=lambda: TowerConfig(
            image_size=16, patch_size=1, in_channels=1536, width=1152, layers=3, heads=12, hidden=3072, class_token=False,
            registers=0, layer_scale=None, gelu="tanh", norm_out="affine", fit="bilinear",
        )
    )  # fmt: skip
    pool: int = 1
    pools: tuple[int, ...] = (1, 2, 3)
    quantizer: QuantizerConfig = SimVQConfig(codebook_size=65536, bias=True, normalize=True)

    def __post_init__(self) -> None:
        if self.decoder.width != self.tower.width:
            raise ConfigError(f"decoder.width is {self.decoder.width}; it must be the tower's width {self.tower.width}.")
        for pool in (self.pool, *self.pools):
            if not 1 <= pool <= self.grid_size:
                raise ConfigError(f"pool {pool} does not fit a grid of {self.grid_size} x {self.grid_size} cells.")

    @property
    def grid_size(self) -> int:
        """Side g of the ViT's grid."""
        return self.tower.image_size // self.tower.patch_size


@dataclass(frozen=True, kw_only=True)
class TATokEncodeOptions(ImageEncodeOptions):
    """Options of `encode`.

    Attributes:
        pool: average this many cells of the grid on each side, 1 or more; the published model knows 1, 2 and 3, that is 729, 169 or
            81 ids. None: that of the config.
    """

    pool: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("pool", self.pool, 1)


class TATok(ImageTokenizer):
    """Pictures to ids `[B, 1, h w]`; `semantic` gives their features back, `decode` raises NotDecodable."""

    family: ClassVar[str] = "ta_tok"
    config_class: ClassVar[type] = TATokConfig
    encode_options = TATokEncodeOptions
    encoder_only = ("tower", "to_features", "to_code")
    decoder_only = ("from_code", "decoder", "from_features")
    varying_positions = True
    config: TATokConfig

    def __init__(self, config: TATokConfig) -> None:
        super().__init__()
        self.config = c = config
        width, dim = c.tower.width, c.decoder.in_channels
        self.tower = VisionTower(c.tower)
        self.to_features = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.to_code = nn.Linear(width, dim)
        self.quantizer = c.quantizer.build(dim=dim)
        self.from_code = nn.Linear(dim, dim)
        self.decoder = VisionTower(c.decoder)
        self.from_features = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
        side = c.tower.image_size
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=c.tower.patch_size,
            image_size=(side, side),
            num_positions=(c.grid_size // c.pool) ** 2,
            value_range=(0.0, 1.0),
            resize="squash",
            decodes=False,
            semantic_dim=width,
        )

    # --- encode -------------------------------------------------------------------------------------------------------

    def fit_in(self, x: Tensor, resize: str) -> Tensor:
        """As in `ImageTokenizer`, but "squash" is the authors' resizing: bilinear, antialiased."""
        size = (self.config.tower.image_size,) * 2
        if resize != "squash" or tuple(x.shape[-2:]) == size:
            return super().fit_in(x, resize)
        return F.interpolate(x[None].float(), size=size, mode="bilinear", align_corners=False, antialias=True)[0].to(x.dtype)

    def grid_of(self, x: Tensor) -> tuple[int, int]:
        """The grid without the option `pool`."""
        side = self.config.grid_size // self.config.pool
        return side, side

    def _pooled(self, batch: Batch) -> Batch:
        """`batch` with the grid that its option `pool` gives."""
        pool = batch.options.pool or self.config.pool
        side = self.config.grid_size // pool
        if not side:
            raise ConfigError(f"pool is {pool}; the grid has {self.config.grid_size} x {self.config.grid_size} cells.")
        return dataclasses.replace(batch, grid=(side, side))

    def encode_batch(self, x: Tensor, batch: Batch) -> Coded:
        """Ids `[B, 1, h w]` of pictures `[B, 3, H, W]`."""
        batch = self._pooled(batch)
        return self.ids_of(self.latents_of(x, batch), batch)

    def tokens_of_batch(self, coded: Coded, items: Sequence[Prepared], batch: Batch) -> Tokens:
        """As in `Coding`, with the pooled grid."""
        return super().tokens_of_batch(coded, items, self._pooled(batch))

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, D, h w]` with the pooling that the call asks for."""
        return self.encode_latents(x, pool=batch.options.pool)

    def features(self, x: Tensor, *, pool: int | None = None) -> Tensor:
        """The ViT's features `[B, h w, C]` of pictures `[B, 3, H, W]` in 0..1, averaged over `pool` x `pool` cells."""
        y, g, pool = self.tower((x - 0.5) / 0.5), self.config.grid_size, pool or self.config.pool
        if pool == 1:
            return y
        return F.avg_pool2d(y.transpose(1, 2).unflatten(2, (g, g)), pool).flatten(2).transpose(1, 2)

    def encode_latents(self, x: Tensor, *, pool: int | None = None) -> Tensor:
        """Latents `[B, D, h w]` of pictures `[B, 3, H, W]` in 0..1; `pool` as in `TATokEncodeOptions`."""
        return self.to_code(self.to_features(self.features(x, pool=pool))).transpose(1, 2)

    # --- features back ------------------------------------------------------------------------------------------------

    def decode_features(self, z_q: Tensor, grid: tuple[int, ...]) -> Tensor:
        """The ViT's features `[B, C, h w]` of quantized latents `[B, D, h w]`."""
        code = self.from_code(z_q.transpose(1, 2)).transpose(1, 2)
        return self.from_features(self.decoder(code.unflatten(2, (grid[0], grid[1])))).transpose(1, 2)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The ViT's features `[B, C, L]` of ids `[B, 1, L]`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its ids, got {grid}.")
        return self.decode_features(self.vectors_of(ids, grid), grid)

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode, quantize and decode `[B, 3, H, W]` with gradients; `x_hat` are the codes `[B, D, h w]`, not a picture.

        `features["semantic"]` are the decoded features `[B, C, h w]`, `features["own"]` those of the ViT itself. In a training step the
        pooling is drawn.
        """
        c, pool = self.config, self.config.pool
        if self.training and torch.is_grad_enabled():
            pool = c.pools[int(torch.randint(len(c.pools), ()))]
        side = c.grid_size // pool
        own = self.features(x, pool=pool)
        z = self.to_code(self.to_features(own)).transpose(1, 2)
        quantized = self.quantizer(z, grid=(side, side))
        found = self.decode_features(quantized.z_q, (side, side))
        features: dict[str, Any] = {"semantic": found, "own": own.transpose(1, 2)}
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized, features=features)
