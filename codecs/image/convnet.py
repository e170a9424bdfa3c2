"""A fully convolutional image tokenizer for pictures of any size: VQGAN-like residual blocks around any quantizer.

Modelled on VQGAN (Esser et al. 2021, arXiv 2012.09841), but local: the first layer folds `patch_size` x `patch_size` pixels
into channels, norms act at each position by default and there is no attention. So an id depends on its neighbourhood alone,
and a picture may be cut into tiles. Own architecture and weights; there is no upstream checkpoint.

Letters: B batch, C channels, H W pixels, h w grid, D latent width, L = h * w positions.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.conv2d import Conv2d
from ..kernels.mode import Layer2d
from ..kernels.norm import GroupNorm
from ..kernels.residual2d import Residual2d
from ..quantizers.base import QuantizerConfig
from ..quantizers.residual_vq import ResidualVQConfig
from ..spec import ImageSpec
from .base import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class ConvTokenizerConfig:
    """Settings of `ConvTokenizer`.

    Attributes:
        patch_size: pixels on a side that the first layer folds into channels; 1: no folding.
        widths: channels of each level, fine to coarse; the stride is `patch_size * 2 ** (levels - 1)`.
        encoder_blocks, decoder_blocks: residual blocks at each level, fine to coarse.
        norm: "position" normalises the channels of each position (tiles equal the whole); "group" is VQGAN's
            GroupNorm with 32 groups over the whole picture.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    patch_size: int = 4
    widths: tuple[int, ...] = (64, 128, 256)
    encoder_blocks: tuple[int, ...] = (1, 1, 1)
    decoder_blocks: tuple[int, ...] = (2, 2, 2)
    norm: Literal["position", "group"] = "position"
    latent_dim: int = 32
    quantizer: QuantizerConfig = ResidualVQConfig(num_codebooks=7)

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.encoder_blocks) == len(self.decoder_blocks) >= 1:
            raise ValueError("widths, encoder_blocks and decoder_blocks must have one entry for each level.")

    @property
    def stride(self) -> int:
        """Pixels from one token to the next."""
        return self.patch_size * 2 ** (len(self.widths) - 1)


class PositionNorm(Layer2d):
    """LayerNorm over the channels of each position of `[B, C, h, w]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, h, w]`; fast where `x` is in channels-last memory."""
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


def _norm(kind: str, channels: int) -> nn.Module:
    return PositionNorm(channels) if kind == "position" else GroupNorm(min(32, channels), channels, eps=1e-6)


class ConvBlock(Residual2d):
    """(norm, SiLU, 3x3 convolution) twice, and the input added; `[B, C, h, w]`."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(norm, channels), _norm(norm, channels)
        self.conv1 = Conv2d(channels, channels, 3, padding=1)
        self.conv2 = Conv2d(channels, channels, 3, padding=1)
        self.act = nn.SiLU()

    def branch(self) -> list[nn.Module]:
        """The residual branch, `[B, C, h, w]`, that is added to the input."""
        return [self.norm1, self.act, self.conv1, self.norm2, self.act, self.conv2]


class ConvEncoder(nn.Sequential):
    """Fold pixels, then blocks and a strided convolution at each level, then a 1x1 convolution to D channels."""

    def __init__(self, config: ConvTokenizerConfig) -> None:
        c = config
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(c.patch_size),
            nn.Conv2d(3 * c.patch_size**2, c.widths[0], 3, padding=1),
        ]
        for level, width in enumerate(c.widths):
            layers += [ConvBlock(width, c.norm) for _ in range(c.encoder_blocks[level])]
            if level + 1 < len(c.widths):
                layers.append(nn.Conv2d(width, c.widths[level + 1], 2, stride=2))  # no padding: tiles stay exact
        layers += [_norm(c.norm, c.widths[-1]), nn.Conv2d(c.widths[-1], c.latent_dim, 1)]
        super().__init__(*layers)


class ConvDecoder(nn.Sequential):
    """The encoder mirrored: blocks at each level, coarse to fine, with pixel shuffles between, and unfolding into pixels."""

    def __init__(self, config: ConvTokenizerConfig) -> None:
        c = config
        layers: list[nn.Module] = [nn.Conv2d(c.latent_dim, c.widths[-1], 3, padding=1)]
        for level in reversed(range(len(c.widths))):
            layers += [ConvBlock(c.widths[level], c.norm) for _ in range(c.decoder_blocks[level])]
            if level:
                layers += [nn.Conv2d(c.widths[level], 4 * c.widths[level - 1], 1), nn.PixelShuffle(2)]
        layers += [
            _norm(c.norm, c.widths[0]),
            nn.SiLU(),
            nn.Conv2d(c.widths[0], 3 * c.patch_size**2, 3, padding=1),
            nn.PixelShuffle(c.patch_size),
        ]
        super().__init__(*layers)


class ConvTokenizer(ImageTokenizer):
    """Convolutional image tokenizer; see the module's docstring."""

    family: ClassVar[str] = "convnet"
    config_class: ClassVar[type] = ConvTokenizerConfig

    def __init__(self, config: ConvTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConvEncoder(config)
        self.quantizer = config.quantizer.build(dim=config.latent_dim)
        self.decoder = ConvDecoder(config)
        if config.norm == "position" and not self.quantizer.needs_grid:
            self.context_positions = _context(config)
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=config.stride,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, h * w]` of pictures `[B, 3, H, W]`, H and W multiples of the stride."""
        return self.encoder(x.contiguous(memory_format=torch.channels_last)).flatten(2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, h * w]`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        z = z_q.unflatten(-1, (grid[0], grid[1]))  # [B, D, h, w]
        return self.decoder(z.contiguous(memory_format=torch.channels_last))


def _context(config: ConvTokenizerConfig) -> int:
    """Grid positions that one position depends on, on each side; a 3x3 convolution reaches one pixel of its level."""
    cell = [config.patch_size * 2**level for level in range(len(config.widths))]  # pixels on a side of one position of a level
    encoder = cell[0] + sum(2 * n * s for n, s in zip(config.encoder_blocks, cell, strict=True))
    decoder = cell[0] + cell[-1] + sum(2 * n * s for n, s in zip(config.decoder_blocks, cell, strict=True))
    return -(-max(encoder, decoder) // config.stride)
