"""4M's tokenizer: ViT encoder, cosine codebook, ViT decoder, for pictures of any size.

Mizrahi et al. 2023, "4M: Massively Multimodal Masked Modeling", arXiv 2312.06647; Bachmann et al. 2024, "4M-21: An Any-to-Any
Vision Model for Tens of Tasks and Modalities", arXiv 2406.09406. Parity checked against apple/ml-4m @ cda590faa3 (Apache-2.0 code;
Apple's sample-code terms for weights), class `VQVAE`.

A ViT over patches of 16 x 16 pixels and a linear map encode pictures `[B, 3, H, W]` to latents `[B, D, h w]`. The quantizer takes the
code with the highest cosine similarity: ids `[B, K, h w]`, K = 1 in the published models. A second ViT decodes the codes to patches
of pixels. `divae.py` has the diffusion decoder, `maps.py` the same networks for other input: depth, maps of classes, features of
other networks, vectors.

Position tables are fixed sine waves, interpolated to other grids. Input and output pixels are in -1..1.
Letters: B batch, C input channels, H W pixels, h w grid, W width of a transformer, D latent width, L = h w.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.vit import PatchesToPixels, TransformerSize, ViTBlock
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...recomputable import Recomputable
from ...spec import ImageSpec
from ...tokenizer import Tokenizer
from ..base import ImageTokenizer
from .uvit import moco_positions


@dataclass(frozen=True, kw_only=True)
class PointwiseSize:
    """A tower of MLPs that transforms each position alone (Bachmann et al. 2023, "Scaling MLPs", arXiv 2306.13575).

    Attributes:
        width: channels between the blocks.
        blocks: number of blocks x + MLP(norm(x)); if `residual` is False, `blocks` - 1 linear maps, each after a norm.
        expansion: hidden width of the MLPs as a multiple of `width`.
        residual: see `blocks`.
    """

    width: int = 1024
    blocks: int = 6
    expansion: int = 4
    residual: bool = True


@dataclass(frozen=True, kw_only=True)
class FourMEncoderConfig:
    """Settings that 4M's tokenizers share; the defaults are those of the published ViT-B ones.

    Attributes:
        channels: C. Pictures have 3, or 1 (edges, masks): then the first colour is encoded, and decoded to three equal colours.
        patch_size: pixels on a side of a patch; 1 for maps with one token for each position.
        encoder_grid: side of the grid that the position table is made for; it is interpolated to other grids.
        encoder: size of the transformer.
        encoder_tower: MLPs instead of the transformer (`patch_size` must be 1); None: the transformer.
        tanh_mlp: a further norm and MLP with tanh, in float32, after each transformer.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    channels: int = 3
    patch_size: int = 16
    encoder_grid: int = 14
    encoder: TransformerSize = TransformerSize(width=768, layers=12, heads=12)
    encoder_tower: PointwiseSize | None = None
    tanh_mlp: bool = True
    latent_dim: int = 32
    quantizer: QuantizerConfig = VQConfig(codebook_size=16384, normalize=True, commitment_weight=1.0)

    #: False in the configs of `maps.py`.
    pictures: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.channels < 1 or (self.pictures and self.channels not in (1, 3)):
            raise ConfigError(f"channels is {self.channels}; pictures have 3 or 1. For other maps see the families fourm_maps.")
        for name in ("encoder", "decoder"):
            if getattr(self, name, self.encoder).width % 4:
                raise ConfigError(f"{name}.width is {getattr(self, name).width}; its positions need a multiple of 4.")
            if getattr(self, f"{name}_tower", None) is not None and self.patch_size != 1:
                raise ConfigError(f"patch_size is {self.patch_size}; with {name}_tower, which makes no patches, it is 1.")


@dataclass(frozen=True, kw_only=True)
class FourMConfig(FourMEncoderConfig):
    """Settings of `FourM`.

    Attributes:
        decoder_grid, decoder, decoder_tower: for the decoder what `encoder_grid`, `encoder` and `encoder_tower` are for the encoder.
        refine: two ConvNeXt blocks over the decoded pixels, to smooth the seams between patches.
    """

    decoder_grid: int = 14
    decoder: TransformerSize = TransformerSize(width=768, layers=12, heads=12)
    decoder_tower: PointwiseSize | None = None
    refine: bool = False


class PointwiseTower(nn.Module):
    """Maps of channels, position by position: `[B, inputs, h, w]` to `[B, outputs, h, w]`; see `PointwiseSize`."""

    def __init__(self, size: PointwiseSize, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual, w, count = size.residual, size.width, size.blocks
        self.enter, self.leave = nn.Linear(inputs, w), nn.Linear(w, outputs)
        if size.residual:
            hidden = w * size.expansion
            blocks = [nn.Sequential(nn.Linear(w, hidden), nn.GELU(), nn.Linear(hidden, w)) for _ in range(count)]
        else:
            blocks = [nn.Linear(w, w) for _ in range(count - 1)]
        self.blocks, self.norms = nn.ModuleList(blocks), nn.ModuleList(nn.LayerNorm(w) for _ in blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, h, w]` to `[B, outputs, h, w]`."""
        y = self.enter(x.movedim(1, -1))
        for norm, block in zip(self.norms, self.blocks, strict=True):
            z = block(norm(y))
            y = y + z if self.residual else z
        return self.leave(y).movedim(-1, 1)


class GridTransformer(nn.Module):
    """ViT blocks over a grid `[B, C, h, w]`, with stretched sine positions and an optional MLP with tanh after them."""

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
        """Transform a grid `[B, C, h, w]`."""
        shape, at = x.shape[2:], self.positions[None]
        if at.shape[2:] != shape:
            at = F.interpolate(at, size=shape, mode="bicubic", align_corners=False)
        x = (x + at).flatten(2).transpose(1, 2)  # [B, L, C]
        for block in self.blocks:
            x = block(x)
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.mlp(self.mlp_norm(x))
        return x.transpose(1, 2).unflatten(2, shape)


class ConvNeXtBlock(nn.Module, Recomputable):
    """x + gain * MLP(norm(depthwise convolution(x))), `[B, C, H, W]` (arXiv 2201.03545)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.gain = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, H, W]`."""
        y = self.depthwise(x).permute(0, 2, 3, 1)  # [B, H, W, C]
        return x + (self.mlp(self.norm(y)) * self.gain).permute(0, 3, 1, 2)


class FourMEncoder(Tokenizer):
    """Encoder and quantizer of all 4M tokenizers, to ids `[B, K, h w]`."""

    encoder_only = ("class_vectors", "patch_embed", "encoder", "to_latent")
    config: FourMEncoderConfig

    def __init__(self, config: FourMEncoderConfig) -> None:
        super().__init__()
        self.config = c = config
        width, p = c.encoder.width, c.patch_size
        self.patch_embed: nn.Module | None = None
        if c.encoder_tower is None:
            self.patch_embed = nn.Conv2d(c.channels, width, p, stride=p)
            self.encoder: nn.Module = GridTransformer(c.encoder, c.encoder_grid, tanh_mlp=c.tanh_mlp)
        else:
            width = c.encoder_tower.width
            self.encoder = PointwiseTower(c.encoder_tower, c.channels, width)
        self.to_latent = nn.Conv2d(width, c.latent_dim, 1)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.encoder.apply(_init_xavier)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, h w]` of a batch `[B, >= C, H, W]`, H and W multiples of the patch."""
        x = x[:, : self.config.channels]
        return self.to_latent(self.encoder(x if self.patch_embed is None else self.patch_embed(x))).flatten(2)


class FourMCodec(FourMEncoder):
    """Encoder, quantizer and transformer decoder over pictures or maps; subclasses add the input preparation and the spec."""

    decoder_only = ("from_latent", "decoder", "to_pixels", "refine")
    config: FourMConfig

    def __init__(self, config: FourMConfig) -> None:
        super().__init__(config)
        c, channels = config, self.outputs
        self.to_pixels: nn.Module | None = None
        if c.decoder_tower is None:
            width = c.decoder.width
            self.decoder: nn.Module = GridTransformer(c.decoder, c.decoder_grid, tanh_mlp=c.tanh_mlp)
            self.to_pixels = PatchesToPixels(width, c.patch_size, channels)
        else:
            width = c.decoder_tower.width
            self.decoder = PointwiseTower(c.decoder_tower, width, channels)
        self.from_latent = nn.Conv2d(c.latent_dim, width, 1)
        self.refine = nn.Sequential(*(ConvNeXtBlock(channels) for _ in range(2 if c.refine else 0)))
        self.decoder.apply(_init_xavier)

    @property
    def outputs(self) -> int:
        """Output channels of the decoder."""
        return self.config.channels

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Decoded pictures or maps `[B, outputs, H, W]` of latents `[B, D, h w]`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        y = self.decoder(self.from_latent(z_q.unflatten(2, (grid[0], grid[1]))))
        return self.refine(y if self.to_pixels is None else self.to_pixels(y))


class FourM(FourMCodec, ImageTokenizer):
    """Pictures of any size, padded to whole patches, to ids and back by a ViT."""

    family: ClassVar[str] = "fourm"
    config_class: ClassVar[type] = FourMConfig
    config: FourMConfig

    def __init__(self, config: FourMConfig) -> None:
        super().__init__(config)
        self.spec = ImageSpec.of(self.quantizer, stride=config.patch_size)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, h w]`."""
        return super().decode_latents(z_q, grid).expand(-1, 3, -1, -1)


def _init_xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
