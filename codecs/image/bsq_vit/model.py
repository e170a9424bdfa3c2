"""BSQ-ViT: a plain ViT on each side of binary spherical codes, one position for each patch.

Zhao et al. 2024, "Image and Video Tokenization with Binary Spherical Quantization", arXiv 2406.07548.
Parity checked against zhaoyue-zephyrus/bsq-vit @ 37d212d2b4 (MIT), class `VITBSQModel`, pictures only.

A ViT over the patches of pictures `[B, 3, H, W]` and a linear map return latents of unit length `[B, b, L]`. The quantizer keeps
the sign of each channel; the bits of a position are its id, or a few ids: `[B, K, L]`. A linear map and a second ViT decode the
signs to patches of pixels `[B, 3, H, W]`.

Letters: B batch, H W pixels, h w grid, L = h * w positions, b bits a position.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import Signed
from ...layers.vit import ViTBlock, embedding, init_linear
from ...precision import unit_norm
from ...quantizers.base import QuantizerConfig
from ...quantizers.bsq import BSQConfig
from ...spec import ImageSpec
from ..base import ImageTokenizer

Mask = Literal["none", "causal", "block-causal"]


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Settings of the transformer of the encoder or of the decoder.

    Attributes:
        width, layers, heads: channels, number of blocks, number of attention heads.
        mlp_ratio: hidden width of its MLPs as a multiple of `width`.
        layer_scale: first value of a learned gain on each branch; None: no gain.
        norm_in: LayerNorm before the blocks (the patch map then has no bias).
        norm_out: LayerNorm after them (decoder only; the encoder always has it).
        mask: positions that a position attends to: all, only earlier ones, or whole blocks of `mask_block`.
        mask_block: positions in a block of "block-causal"; 0: the whole grid, so that nothing is masked.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    layer_scale: float | None = None
    norm_in: bool = True
    norm_out: bool = True
    mask: Mask = "none"
    mask_block: int = 0


@dataclass(frozen=True, kw_only=True)
class BSQViTConfig:
    """Settings of `BSQViT`; the defaults are the published 18-bit model's.

    Attributes:
        image_size: (H, W) of the pictures in pixels.
        patch_size: pixels on a side of a patch; the stride.
        encoder, decoder: settings of the two transformers.
        latent_dim: b, channels of the latents and bits of a position.
        normalize: scale latents to unit length.
        quantizer: any binary kind; its `dim` is filled in.
        head_width: hidden width of the decoder's tanh layer before the pixels; 0: none.
        logit_laplace: the decoder predicts location and log-scale of a logit-Laplace distribution, `[B, 6, H, W]`,
            and pictures are its median, mapped back from 0.1..0.9 (DALL-E, arXiv 2102.12092, appendix A.3).
        squeeze_input: with `logit_laplace`, map pixels 0..1 to 0.1..0.9 before the encoder. The authors' training does so, their
            `encode` does not; ids here follow `encode` unless this is set.
        value_range: range of input and output pixels.
    """

    image_size: tuple[int, int] = (256, 256)
    patch_size: int = 8
    encoder: ViTConfig = ViTConfig()
    decoder: ViTConfig = ViTConfig()
    latent_dim: int = 18
    normalize: bool = True
    quantizer: QuantizerConfig = BSQConfig(bits=18, normalize=False, entropy="analytic", entropy_weight=1.0)
    head_width: int = 3072
    logit_laplace: bool = False
    squeeze_input: bool = False
    value_range: tuple[Signed, Signed] = (-1.0, 1.0)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns (h, w) of the patch grid."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    def __post_init__(self) -> None:
        if any(n % self.patch_size for n in self.image_size):
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}.")
        if self.logit_laplace and self.value_range != (0.0, 1.0):
            raise ValueError(f"logit_laplace needs value_range (0, 1), got {self.value_range}.")


class ViT(nn.Module):
    """Positions, optional norm, blocks under one mask, optional norm; `[B, L, D]`."""

    mask: Tensor | None

    def __init__(self, config: ViTConfig, positions: int) -> None:
        super().__init__()
        c = config
        self.positions = embedding(positions, c.width)
        self.norm_in = nn.LayerNorm(c.width) if c.norm_in else nn.Identity()
        self.blocks = nn.ModuleList(
            ViTBlock(c.width, c.heads, mlp_ratio=c.mlp_ratio, layer_scale=c.layer_scale) for _ in range(c.layers)
        )
        self.norm_out = nn.LayerNorm(c.width) if c.norm_out else nn.Identity()
        self.register_buffer("mask", attention_mask(c.mask, positions, c.mask_block or positions), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a sequence `[B, L, D]`."""
        x = self.norm_in(x + self.positions)
        for block in self.blocks:
            x = block(x, self.mask)
        return self.norm_out(x)


def attention_mask(kind: Mask, length: int, block: int) -> Tensor | None:
    """Bool `[L, L]`, True where the row's position attends to the column's; None: no mask."""
    if kind == "none":
        return None
    at = torch.arange(length)
    if kind == "block-causal":
        if length % block:
            raise ValueError(f"mask_block {block} does not divide {length} positions.")
        at = at // block
    return at[:, None] >= at[None, :]


class BSQViT(ImageTokenizer):
    """Pictures of one size to one id (or a few) for each patch; see the module's docstring."""

    family: ClassVar[str] = "bsq_vit"
    config_class: ClassVar[type] = BSQViTConfig
    encoder_only = ("patch_embed", "encoder", "to_latent")
    decoder_only = ("from_latent", "decoder", "head", "to_pixels")

    def __init__(self, config: BSQViTConfig) -> None:
        super().__init__()
        self.config = c = config
        positions, p = c.grid[0] * c.grid[1], c.patch_size
        self.patch_embed = nn.Conv2d(3, c.encoder.width, p, stride=p, bias=not c.encoder.norm_in)
        self.encoder = ViT(c.encoder, positions)
        self.to_latent = nn.Linear(c.encoder.width, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.from_latent = nn.Linear(c.latent_dim, c.decoder.width)
        self.decoder = ViT(c.decoder, positions)
        self.head = nn.Sequential(nn.Linear(c.decoder.width, c.head_width), nn.Tanh()) if c.head_width else nn.Identity()
        self.to_pixels = nn.Linear(c.head_width or c.decoder.width, 3 * p**2 * (2 if c.logit_laplace else 1))
        self.apply(init_linear)
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=p,
            image_size=c.image_size,
            value_range=c.value_range,
            resize="crop",
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, b, L]` of pictures `[B, 3, H, W]`."""
        x = squeeze(x) if self.config.logit_laplace and self.config.squeeze_input else x
        z = self.to_latent(self.encoder(self.patch_embed(x).flatten(2).transpose(1, 2)))  # [B, L, b]
        return (unit_norm(z) if self.config.normalize else z).transpose(1, 2)

    def decode_raw(self, z_q: Tensor) -> Tensor:
        """The decoder's output of latents `[B, b, L]`: `[B, 3, H, W]`, or `[B, 6, H, W]` with `logit_laplace`."""
        y = self.to_pixels(self.head(self.decoder(self.from_latent(z_q.transpose(1, 2)))))  # [B, L, c p p]
        return F.pixel_shuffle(y.transpose(1, 2).unflatten(2, self.config.grid), self.config.patch_size)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, b, L]`, not clipped."""
        raw = self.decode_raw(z_q)
        return unsqueeze(torch.sigmoid(raw[:, :3])) if self.config.logit_laplace else raw


#: Margin that logit-Laplace keeps from 0 and 1.
_LAPLACE_MARGIN = 0.1


def squeeze(x: Tensor) -> Tensor:
    """Map values 0..1 linearly to 0.1..0.9; any shape."""
    return (1 - 2 * _LAPLACE_MARGIN) * x + _LAPLACE_MARGIN


def unsqueeze(x: Tensor) -> Tensor:
    """Map values 0.1..0.9 linearly to 0..1, clipped; any shape."""
    return ((x - _LAPLACE_MARGIN) / (1 - 2 * _LAPLACE_MARGIN)).clamp(0, 1)
