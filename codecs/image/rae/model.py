"""A frozen image encoder's features as tokens: CubiD's channel-wise quantizer over a representation autoencoder.

Representation autoencoders: Zheng et al. 2025, "Diffusion Transformers with Representation Autoencoders", arXiv 2510.11690. Parity
checked against YuqingWang1029/CubiD @ 5c2146ddac (no licence stated; own code from the published facts), class `RAE` and the
generator's `quantize`.

Frozen DINOv2 encodes pictures `[B, 3, H, W]` to one vector for each patch, `[B, D, h w]`, normalised by stored statistics. Every
channel is rounded to one of a few levels by itself: ids `[B, K, h w]` with K = D. A ViT decodes the vectors to `[B, 3, H, W]`.

Letters: B batch, H W pixels, h w grid, D width of the encoder, L = h w.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.vision_tower import TowerConfig, VisionTower
from ...layers.vit import PatchesToPixels, TransformerSize, ViTBlock, init_linear
from ...quantizers.base import QuantizerConfig, straight_through
from ...quantizers.dimension_wise import DimensionWiseConfig
from ...spec import ImageSpec
from ..base import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class RAEConfig:
    """Settings of `RAE`; the defaults are CubiD's.

    Attributes:
        image_size: side of the input and output pictures, in pixels.
        encoder: settings of the tower, see `layers/vision_tower.py`.
        encoder_size: side that pictures are resized to before the tower, in pixels; a remainder smaller than a patch is ignored.
        train_encoder: whether the tower is trained; the published one is frozen.
        decoder: size of the ViT that decodes to pixels.
        decoder_hidden: width inside its MLPs.
        decoder_patch_size: side of the patch that a position is decoded to, in pixels.
        pixel_mean, pixel_std: mean and deviation of each colour; the tower's input is (x - mean) / std, as is the decoder's output.
        quantizer: settings of any quantizer, meant for "dimension_wise"; its `dim` is filled in.
    """

    image_size: int = 256
    encoder: TowerConfig = field(default_factory=TowerConfig)
    encoder_size: int = 224
    train_encoder: bool = False
    decoder: TransformerSize = TransformerSize(width=1152, layers=28, heads=16)
    decoder_hidden: int = 4096
    decoder_patch_size: int = 16
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    quantizer: QuantizerConfig = DimensionWiseConfig(levels=8, low=-9.0, high=9.0)

    def __post_init__(self) -> None:
        if self.encoder_size < self.encoder.patch_size:
            raise ConfigError(f"encoder_size {self.encoder_size} is less than one patch of {self.encoder.patch_size} pixels.")
        if self.image_size != self.grid_size * self.decoder_patch_size:
            raise ConfigError(
                f"image_size is {self.image_size}, but {self.grid_size} patches of {self.decoder_patch_size} pixels give "
                f"{self.grid_size * self.decoder_patch_size}."
            )

    @property
    def grid_size(self) -> int:
        """Number of positions on a side of the grid, h = w."""
        return self.encoder_size // self.encoder.patch_size


class RAE(ImageTokenizer):
    """Pictures in 0..1 to channel-wise ids `[B, D, h w]` and back."""

    family: ClassVar[str] = "rae"
    config_class: ClassVar[type] = RAEConfig
    decoder_only = ("decoder_in", "decoder", "norm_out", "to_pixels", "class_token", "positions")
    config: RAEConfig
    latent_mean: Tensor
    latent_var: Tensor
    positions: Tensor
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: RAEConfig) -> None:
        super().__init__()
        self.config = c = config
        g, width, d = c.grid_size, c.decoder.width, c.encoder.width
        self.encoder = VisionTower(c.encoder).requires_grad_(c.train_encoder)
        # Statistics of the latents over a training set, for each channel and position.
        self.register_buffer("latent_mean", torch.zeros(d, g * g))
        self.register_buffer("latent_var", torch.ones(d, g * g))
        self.quantizer = c.quantizer.build(dim=d)
        self.decoder_in = nn.Linear(d, width)
        self.class_token = nn.Parameter(torch.randn(1, width) * 0.02)
        self.register_buffer("positions", sine_positions(g, width))  # [1 + g g, width]
        self.decoder = nn.ModuleList(
            ViTBlock(width, c.decoder.heads, mlp_ratio=(c.decoder_hidden + 0.5) / width, eps=1e-12) for _ in range(c.decoder.layers)
        )
        self.norm_out = nn.LayerNorm(width, eps=1e-12)
        self.to_pixels = PatchesToPixels(width, c.decoder_patch_size)
        self.decoder.apply(init_linear)
        self.register_buffer("pixel_mean", torch.tensor(c.pixel_mean)[:, None, None], persistent=False)
        self.register_buffer("pixel_std", torch.tensor(c.pixel_std)[:, None, None], persistent=False)
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=c.decoder_patch_size,
            image_size=(c.image_size, c.image_size),
            value_range=(0.0, 1.0),
            resize="crop",
            semantic_dim=d,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Normalised features `[B, D, h w]` of pictures `[B, 3, H, W]` in 0..1."""
        size = self.config.encoder_size
        if x.shape[-2:] != (size, size):
            x = F.interpolate(x, size=(size, size), mode="bicubic", align_corners=False)
        z = self.encoder((x - self.pixel_mean) / self.pixel_std).transpose(1, 2)  # [B, D, h w]
        return (z - self.latent_mean) / self._deviation()

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]`, clipped to 0..1, of features `[B, D, h w]`; clipped pixels keep a gradient."""
        g = self.config.grid_size
        y = self.decoder_in(self.features(z_q).transpose(1, 2))
        y = torch.cat([self.class_token.expand(len(y), -1, -1), y], dim=1) + self.positions
        for block in self.decoder:
            y = block(y)
        y = self.norm_out(y)[:, 1:].transpose(1, 2).unflatten(2, (g, g))
        x = self.to_pixels(y) * self.pixel_std + self.pixel_mean
        return straight_through(x, x.detach().clamp(0, 1))

    def features(self, z: Tensor) -> Tensor:
        """Undo the normalisation: the frozen encoder's features `[B, D, h w]` from normalised features `[B, D, h w]`."""
        return z * self._deviation() + self.latent_mean

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The frozen encoder's features `[B, D, h w]` of ids `[B, K, h w]`."""
        return self.features(self.vectors_of(ids, grid))

    def _deviation(self) -> Tensor:
        return (self.latent_var + 1e-5).sqrt()

    @torch.no_grad()
    def fit_latents(self, x: Tensor) -> "RAE":
        """Set the latents' mean and variance from pictures `[N, 3, H, W]`, so that `encode_latents` returns about unit variance."""
        z = self.encode_latents(x) * self._deviation() + self.latent_mean
        self.latent_mean.copy_(z.mean(0))
        self.latent_var.copy_(z.var(0))
        return self


def sine_positions(side: int, width: int) -> Tensor:
    """Fixed positions `[1 + side side, width]` of MAE (arXiv 2111.06377): waves of the column, then of the row.

    The class token has zeros.
    """
    if width % 4:
        raise ConfigError(f"width is {width}; sine positions of a grid need a multiple of 4.")
    rate = 1 / 10000.0 ** (torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    at = torch.arange(side, dtype=torch.float64)
    wave = torch.cat([torch.outer(at, rate).sin(), torch.outer(at, rate).cos()], dim=1)  # [side, width / 2]
    table = torch.cat([wave.repeat(side, 1), wave.repeat_interleave(side, dim=0)], dim=1)
    return torch.cat([torch.zeros(1, width), table.float()])
