"""GLM-Image's picture tokens: a ViT's features of pictures of any size, quantized with one table by cosine similarity. Encoder only.

Z.ai 2026, GLM-Image; read from `transformers` 5.24 (`modeling_glm_image.py`, Apache-2.0), classes `GlmImageVisionModel` and
`GlmImageVQVAE`, against which it was checked. There is no paper. Only a diffusion model of 7 billion weights (the other half of
zai-org/GLM-Image) decodes the ids to pixels; it is not implemented here.

A ViT over the patches of `[B, 3, H, W]` returns features `[B, C, L]`, which a linear map takes to D channels. The code with the highest
cosine similarity gives each patch its id: `[B, 1, L]`.

Differs: pictures are padded to whole patches at their own size. The authors' processor resizes first: the short side to at least
512, the long one to at most 2048 pixels, half of that, rounded to multiples of the patch.

Letters: B batch, H W pixels, h w grid of patches, C width of the tower, D width of the codes, L = h w.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.qwen2_vision import Activation, activation
from ...layers.vision_tower import CLIP_MEAN, CLIP_STD, TowerConfig, VisionTower
from ...layers.vit import ViTBlock
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer, pad_to_stride


@dataclass(frozen=True, kw_only=True)
class GlmImageConfig:
    """Settings of `GlmImage`; the defaults are those of transformers' classes.

    Attributes:
        image_size: side of the pictures that the position table is made for; for other grids it is interpolated.
        patch_size: pixels on a side of a patch, which is a position.
        width: C, channels of the tower.
        layers, heads: number of layers and of attention heads of the tower.
        hidden: hidden width of its MLPs.
        activation: activation of its MLPs.
        bias: whether the attention's linear maps have a bias.
        eps: epsilon of the LayerNorms.
        code_dim: D, channels of the codes.
        quantizer: settings of any quantizer; its `dim` is filled in.
        pixel_mean, pixel_std: mean and deviation of the colours in 0..1, those of CLIP as in the authors' processor.
    """

    image_size: int = 2048
    patch_size: int = 16
    width: int = 1536
    layers: int = 40
    heads: int = 16
    hidden: int = 6144
    activation: Activation = "gelu"
    bias: bool = True
    eps: float = 1e-6
    code_dim: int = 2048
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=16384, normalize=True, returns="normalized", update="gradient", commitment_weight=1.0, codebook_weight=0.25,
        kmeans_init=False, replace_below=0.0,
    )  # fmt: skip
    pixel_mean: tuple[float, float, float] = CLIP_MEAN
    pixel_std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads.")
        if self.image_size < self.patch_size:
            raise ConfigError(f"image_size {self.image_size} is less than one patch of {self.patch_size} pixels.")


class GlmTower(VisionTower):
    """Normalised pictures `[B, 3, H, W]` to features `[B, L, C]`; the position table is interpolated bilinearly to each grid."""

    def __init__(self, config: GlmImageConfig) -> None:
        c = config
        super().__init__(
            TowerConfig(
                image_size=c.image_size, patch_size=c.patch_size, width=c.width, layers=c.layers, heads=c.heads, hidden=c.hidden,
                class_token=False, registers=0, layer_scale=None, eps=c.eps, norm_out="none",
            )
        )  # fmt: skip
        for block in self.blocks:
            assert isinstance(block, ViTBlock)
            block.mlp[1] = activation(c.activation)
            for layer in () if c.bias else (block.attention.qkv, block.attention.out):
                layer.register_parameter("bias", None)

    def _grid_positions(self, h: int, w: int) -> Tensor:
        table = self.positions.t().unflatten(1, (self.grid_size, self.grid_size))[None].float()  # [1, C, g, g]
        rows, columns = ((torch.arange(n, device=table.device, dtype=torch.float32) + 0.5) / n * 2 - 1 for n in (h, w))
        points = torch.stack([columns.expand(h, w), rows[:, None].expand(h, w)], dim=-1)[None]  # [1, h, w, 2]
        read = F.grid_sample(table, points, mode="bilinear", padding_mode="border", align_corners=False)
        return read[0].flatten(1).t().to(self.positions.dtype)


class GlmImage(ImageTokenizer):
    """Pictures in 0..1 of any size to ids `[B, 1, h w]`; `decode` raises NotDecodable."""

    family: ClassVar[str] = "glm_image"
    config_class: ClassVar[type] = GlmImageConfig
    encoder_only = ("tower", "to_code")
    decoder_only = ()
    config: GlmImageConfig
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: GlmImageConfig) -> None:
        super().__init__()
        self.config = c = config
        self.tower = GlmTower(c)
        self.to_code = nn.Linear(c.width, c.code_dim)
        self.quantizer = c.quantizer.build(dim=c.code_dim)
        self.register_buffer("pixel_mean", torch.tensor(c.pixel_mean)[:, None, None], persistent=False)
        self.register_buffer("pixel_std", torch.tensor(c.pixel_std)[:, None, None], persistent=False)
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=c.patch_size,
            value_range=(0.0, 1.0),
            decodes=False,
            semantic_dim=c.code_dim,
        )

    def features(self, x: Tensor) -> Tensor:
        """The tower's features `[B, C, L]` of pictures `[B, 3, H, W]` in 0..1, H and W multiples of the patch."""
        return self.tower((x - self.pixel_mean) / self.pixel_std).transpose(1, 2)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of pictures `[B, 3, H, W]`."""
        return self.to_code(self.features(x).transpose(1, 2)).transpose(1, 2)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Vectors `[B, D, L]` of the codebook."""
        return self.vectors_of(ids, grid)

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode and quantize `[B, 3, H, W]` with gradients; `x_hat` is the latents of the ids, `[B, D, L]`, not a picture."""
        x = pad_to_stride(x, self.size_multiple)
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=self.grid_of(x))
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized)
