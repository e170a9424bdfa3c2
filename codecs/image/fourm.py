"""4M's tokenizer: ViT encoder, cosine codebook, ViT decoder, for pictures of any size. `fourm_divae.py` has the diffusion decoder.

Mizrahi et al. 2023 (4M, arXiv 2312.06647), Bachmann et al. 2024 (4M-21, arXiv 2406.09406). Parity checked against apple/ml-4m @
cda590faa3 (Apache-2.0 code; Apple's sample-code terms for weights), class `VQVAE`.

Position tables are fixed sine waves, stretched to other grids. Pixels go in and come out in -1..1.
Letters: B batch, H W pixels, h w grid, C width of a transformer, D latent width, L = h w.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError
from ..layers.vit import PatchesToPixels, TransformerSize, ViTBlock
from ..quantizers.base import QuantizerConfig
from ..quantizers.vq import VQConfig
from ..spec import ImageSpec
from .base import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class FourMEncoderConfig:
    """What 4M's tokenizers have in common; the defaults are those of the published ViT-B ones.

    Attributes:
        patch_size: pixels on a side of a patch.
        encoder_grid: side of the grid that the position table is made for; others stretch it.
        encoder: size of the transformer.
        tanh_mlp: a further MLP with tanh and a norm of its own, in float32, behind each transformer.
        latent_dim: D.
        quantizer: any kind; its `dim` is filled in.
    """

    patch_size: int = 16
    encoder_grid: int = 14
    encoder: TransformerSize = TransformerSize(width=768, layers=12, heads=12)
    tanh_mlp: bool = True
    latent_dim: int = 32
    quantizer: QuantizerConfig = VQConfig(codebook_size=16384, normalize=True, commitment_weight=1.0)

    def __post_init__(self) -> None:
        for name in ("encoder", "decoder"):
            if getattr(self, name, self.encoder).width % 4:
                raise ConfigError(f"{name}.width is {getattr(self, name).width}; its positions need a multiple of 4.")


@dataclass(frozen=True, kw_only=True)
class FourMConfig(FourMEncoderConfig):
    """Settings of `FourM`.

    Attributes:
        decoder_grid, decoder: as `encoder_grid` and `encoder`.
        refine: two ConvNeXt blocks over the decoded pixels, against the patches' seams.
    """

    decoder_grid: int = 14
    decoder: TransformerSize = TransformerSize(width=768, layers=12, heads=12)
    refine: bool = False


class GridTransformer(nn.Module):
    """ViT blocks over a grid `[B, C, h, w]`, with stretched sine positions and an optional MLP with tanh behind."""

    positions: Tensor

    def __init__(self, size: TransformerSize, grid: int, *, tanh_mlp: bool) -> None:
        super().__init__()
        width = size.width
        self.register_buffer("positions", moco_positions(grid, width))  # [C, g, g]
        self.blocks = nn.ModuleList(ViTBlock(width, size.heads, eps=1e-6) for _ in range(size.layers))
        self.mlp_norm = self.mlp = None
        if tanh_mlp:
            self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.Tanh(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        shape, at = x.shape[2:], self.positions[None]
        if at.shape[2:] != shape:
            at = F.interpolate(at, size=shape, mode="bicubic", align_corners=False)
        x = (x + at).flatten(2).transpose(1, 2)  # [B, L, C]
        for block in self.blocks:
            x = block(x)
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.mlp(self.mlp_norm(x))
        return x.transpose(1, 2).unflatten(2, shape)


class ConvNeXtBlock(nn.Module):
    """x + gain * MLP(norm(depthwise convolution(x))), `[B, C, H, W]` (arXiv 2201.03545)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.gain = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = self.depthwise(x).permute(0, 2, 3, 1)  # [B, H, W, C]
        return x + (self.mlp(self.norm(y)) * self.gain).permute(0, 3, 1, 2)


class FourMEncoder(ImageTokenizer):
    """Base of 4M's tokenizers: pictures of any size, padded to whole patches, to ids `[B, K, h w]`."""

    config: FourMEncoderConfig

    def __init__(self, config: FourMEncoderConfig, channels: int = 3) -> None:
        super().__init__()
        self.config = c = config
        p, d = c.patch_size, c.latent_dim
        self.patch_embed = nn.Conv2d(channels, c.encoder.width, p, stride=p)
        self.encoder = GridTransformer(c.encoder, c.encoder_grid, tanh_mlp=c.tanh_mlp)
        self.to_latent = nn.Conv2d(c.encoder.width, d, 1)
        self.quantizer = c.quantizer.build(dim=d)
        self.encoder.apply(_init_xavier)
        self.spec = ImageSpec(
            vocab_sizes=self.quantizer.codebook_sizes,
            stride=p,
            prefix=("codebooks",) if self.quantizer.prefix_decodable else (),
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, h w]` of pictures `[B, 3, H, W]`, H and W multiples of the patch."""
        return self.to_latent(self.encoder(self.patch_embed(x))).flatten(2)


class FourM(FourMEncoder):
    """Ids and back by a ViT."""

    family: ClassVar[str] = "fourm"
    config_class: ClassVar[type] = FourMConfig
    config: FourMConfig

    def __init__(self, config: FourMConfig) -> None:
        super().__init__(config)
        c = config
        self.from_latent = nn.Conv2d(c.latent_dim, c.decoder.width, 1)
        self.decoder = GridTransformer(c.decoder, c.decoder_grid, tanh_mlp=c.tanh_mlp)
        self.to_pixels = PatchesToPixels(c.decoder.width, c.patch_size)
        self.refine = nn.Sequential(*(ConvNeXtBlock(3) for _ in range(2 if c.refine else 0)))
        self.decoder.apply(_init_xavier)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, h w]`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        y = self.decoder(self.from_latent(z_q.unflatten(2, (grid[0], grid[1]))))
        return self.refine(self.to_pixels(y))


def moco_positions(side: int, width: int) -> Tensor:
    """Fixed positions `[width, side, side]` of MoCo-v3 (arXiv 2104.02057): sine and cosine of the row, then of the column."""
    rate = 1 / 10000.0 ** (torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angles = torch.outer(rate, torch.arange(side, dtype=torch.float32))  # [width / 4, side]
    wave = torch.cat([angles.sin(), angles.cos()])
    rows, columns = wave[:, :, None].expand(-1, -1, side), wave[:, None, :].expand(-1, side, -1)
    return torch.cat([rows, columns]).contiguous()


def _init_xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
