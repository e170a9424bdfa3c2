"""GLM-Image's picture tokens: a ViT's features of pictures of any size, looked up by angle in one table. It only encodes.

Z.ai 2026, GLM-Image; read from `transformers` 5.24 (`modeling_glm_image.py`, Apache-2.0), classes `GlmImageVisionModel` and
`GlmImageVQVAE`, against which it was checked. There is no paper. What the ids mean as pixels is known to a diffusion model of
7 billion weights alone (the other half of zai-org/GLM-Image), which is not here.

Differs: pictures are padded to whole patches as they are. The authors' processor resizes first: the short side to at least 512,
the long one to at most 2048 pixels, half of that, rounded to multiples of the patch.

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
        image_size: side of the pictures that the position table is made for; other grids read it between its points.
        patch_size: pixels on a side of a patch, which is a position.
        width: C.
        layers, heads: of the tower.
        hidden: width inside its MLPs.
        activation: inside its MLPs.
        bias: of the attention's maps.
        eps: of the LayerNorms.
        code_dim: D.
        quantizer: any kind; its `dim` is filled in.
        pixel_mean, pixel_std: of the colours in 0..1; the processor's, CLIP's.
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
            raise ConfigError(f"image_size {self.image_size} holds no patch of {self.patch_size} pixels.")


class GlmTower(VisionTower):
    """Normalised pictures `[B, 3, H, W]` to features `[B, L, C]`; each grid reads the table of positions bilinearly."""

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
        rows, columns = ((torch.arange(n, device=table.device) + 0.5) / n * 2 - 1 for n in (h, w))
        points = torch.stack([columns.expand(h, w), rows[:, None].expand(h, w)], dim=-1)[None]  # [1, h, w, 2]
        read = F.grid_sample(table, points, mode="bilinear", padding_mode="border", align_corners=False)
        return read[0].flatten(1).t().to(self.positions.dtype)


class GlmImage(ImageTokenizer):
    """Pictures in 0..1 of any size to ids `[B, 1, h w]`; `decode` is refused."""

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
        self.spec = ImageSpec(
            vocab_sizes=self.quantizer.codebook_sizes,
            stride=c.patch_size,
            value_range=(0.0, 1.0),
            prefix=("codebooks",) if self.quantizer.prefix_decodable else (),
            decodes=False,
        )

    def features(self, x: Tensor) -> Tensor:
        """The tower's features `[B, C, L]` of pictures `[B, 3, H, W]` in 0..1, H and W multiples of the patch."""
        return self.tower((x - self.pixel_mean) / self.pixel_std).transpose(1, 2)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of pictures `[B, 3, H, W]`."""
        return self.to_code(self.features(x).transpose(1, 2)).transpose(1, 2)

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode and quantize `[B, 3, H, W]` with gradients; in place of a picture `x_hat` is the ids' latents `[B, D, L]`."""
        x = pad_to_stride(x, self.size_multiple)
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=self.grid_of(x))
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized)
