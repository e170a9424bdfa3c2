"""Paella's VQGAN, stage A of Wuerstchen: mixing blocks without attention, 4 pixels a token, codes of width 4.

Rampas et al. 2022, "A Novel Sampling Scheme for Text- and Image-Conditional Image Synthesis in Quantized Latent Spaces", arXiv
2211.07292; Pernias et al. 2023, "Wuerstchen", arXiv 2306.00637. Read from and checked against `PaellaVQModel` of diffusers 0.42.1
(Apache-2.0).

Pixels in 0..1 are folded 2 x 2 into channels. A mixing block normalises each position, adds a depthwise 3x3 convolution, then an MLP at
each position, each scaled and shifted by learned numbers. Strided 4x4 convolutions lead to the coarsest level, a 1x1 convolution and a
batch norm on stored statistics to the latents, which a table quantizes. The decoder has most of its blocks at the coarsest level.

Differs: the numbers that scale a block's branches begin at 0.1 (theirs at 0), so that all weights learn from the first step.

Letters: B batch, C channels, H W positions, h w grid, D width of the codes, L = h w.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...kernels.mode import Layer2d
from ...layers.fixed_norm import FixedNorm
from ...members import members
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...recomputable import Recomputable
from ...spec import ImageSpec
from ..base import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class PaellaConfig:
    """Settings of `Paella`; the defaults are those of Wuerstchen's stage A.

    Attributes:
        patch_size: pixels on a side that are folded into channels.
        width: C of the coarsest level; each finer one has half of it.
        levels: number of levels; the grid is halved between them.
        blocks: mixing blocks of the decoder at the coarsest level; all other levels have one.
        latent_dim: D.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    patch_size: int = 2
    width: int = 384
    levels: int = 2
    blocks: int = 12
    latent_dim: int = 4
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=8192, update="gradient", commitment_weight=0.25, codebook_weight=1.0, kmeans_init=False, replace_below=0.0
    )

    def __post_init__(self) -> None:
        if self.width % 2 ** (self.levels - 1):
            raise ConfigError(f"width is {self.width}; {self.levels} levels halve it {self.levels - 1} times.")

    @property
    def widths(self) -> tuple[int, ...]:
        """C of each level, fine to coarse."""
        return tuple(self.width // 2**i for i in reversed(range(self.levels)))

    @property
    def stride(self) -> int:
        """Pixels from one position to the next."""
        return self.patch_size * 2 ** (self.levels - 1)


class MixingBlock(Layer2d, Recomputable):
    """Depthwise 3x3 convolution with repeated edges, then an MLP at each position, each scaled and added; `[B, C, H, W]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, groups=channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        #: (gain - 1, shift, scale) of the convolution's branch, then of the MLP's.
        self.gammas = nn.Parameter(torch.tensor([0.0, 0.0, 0.1, 0.0, 0.0, 0.1]))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `[B, C, H, W]`."""
        g = self.gammas
        x = x.permute(0, 2, 3, 1)  # [B, H, W, C]
        y = self._norm(x, g[0], g[1]).permute(0, 3, 1, 2)
        x = x + self.depthwise(F.pad(y, (1, 1, 1, 1), mode="replicate")).permute(0, 2, 3, 1) * g[2]
        x = x + self.mlp(self._norm(x, g[3], g[4])) * g[5]
        return x.permute(0, 3, 1, 2)

    def _norm(self, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + gain) + shift


class PaellaEncoder(nn.Module):
    """Pictures `[B, 3, H, W]` in 0..1 to latents `[B, D, h, w]`."""

    def __init__(self, config: PaellaConfig) -> None:
        super().__init__()
        widths = config.widths
        self.fold = nn.PixelUnshuffle(config.patch_size)
        self.stem = nn.Conv2d(3 * config.patch_size**2, widths[0], 1)
        self.blocks = nn.ModuleList(MixingBlock(c) for c in widths)
        self.halvings = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.head = nn.Conv2d(widths[-1], config.latent_dim, 1, bias=False)
        self.norm = FixedNorm(config.latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Encode `[B, 3, H, W]`, H and W multiples of the stride."""
        x = self.stem(self.fold(x))
        for i, block in enumerate(self.blocks):
            x = block(self.halvings[i - 1](x) if i else x)
        return self.norm(self.head(x))


class PaellaDecoder(nn.Module):
    """Codes `[B, D, h, w]` to pictures `[B, 3, H, W]`."""

    def __init__(self, config: PaellaConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]  # coarse to fine
        self.stem = nn.Conv2d(config.latent_dim, widths[0], 1)
        counts = [config.blocks] + [1] * (config.levels - 1)
        self.levels = nn.ModuleList(nn.ModuleList(MixingBlock(c) for _ in range(n)) for c, n in zip(widths, counts, strict=True))
        pairs = itertools.pairwise(widths)
        self.doublings = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
        self.head = nn.Conv2d(widths[-1], 3 * config.patch_size**2, 1)
        self.unfold = nn.PixelShuffle(config.patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Decode `[B, D, h, w]`."""
        x = self.stem(x)
        for i, blocks in enumerate(members(self.levels, nn.ModuleList)):
            x = self.doublings[i - 1](x) if i else x
            for block in blocks:
                x = block(x)
        return self.unfold(self.head(x))


class Paella(ImageTokenizer):
    """Paella's tokenizer for pictures of any size; see the module's docstring. Large pictures are processed in tiles."""

    family: ClassVar[str] = "paella"
    config_class: ClassVar[type] = PaellaConfig
    encoder_only = ("encoder",)
    decoder_only = ("decoder",)
    config: PaellaConfig

    def __init__(self, config: PaellaConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = PaellaEncoder(config), PaellaDecoder(config)
        self.quantizer = config.quantizer.build(dim=config.latent_dim)
        if not self.quantizer.needs_grid:
            # the decoder's coarsest blocks reach one position each; all finer levels and resamplings together less than four
            self.context_positions = config.blocks + 4
        self.spec = ImageSpec.of(self.quantizer, stride=config.stride, value_range=(0.0, 1.0))

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, h w]` of pictures `[B, 3, H, W]`."""
        return self.encoder(x).flatten(2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, h w]`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        return self.decoder(z_q.unflatten(-1, (grid[0], grid[1])))
