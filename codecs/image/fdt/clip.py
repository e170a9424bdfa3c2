"""FDT with both its towers: pictures and texts to mixtures of one dictionary, all trained together from the start.

Chen et al. 2023, arXiv 2303.14865; read from yuxiaochen1103/FDT @ ccf69830c1 (Apache-2.0), class `Clip_FDT` with `VisualTransformer`
and `TextTransformer`. The dictionary and its two maps are those of `model.py`, whose parity is checked; the towers are CLIP's.

CLIP's ViT encodes pictures `[B, 3, H, W]` to the states of its patches `[B, L, C]`, its causal transformer the tokens of a text
`[B, N]` to states `[B, N, C']`. Both are scored by the codes of one dictionary, and the pooled scores make one mixture of codes for
the whole picture or text, `[B, D]`. The id of a patch is its best code, `[B, 1, L]`.

Differs: the authors' towers have class and end states with projections too, which FDT does not use.

Letters: B batch, H W pixels, L patches, N tokens of a text, C and C' widths of the towers, D width of the dictionary, V its size.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.vision_tower import CLIP_MEAN, CLIP_STD, TowerConfig, VisionTower
from ...layers.vit import ViTBlock
from ...quantizers.base import Quantizer
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer, pad_to_stride
from .model import FDT, FDTConfig, Mixture


@dataclass(frozen=True, kw_only=True)
class TextTowerConfig:
    """Settings of `TextTower`; the defaults are those of CLIP ViT-B's text half.

    Attributes:
        vocab_size: number of tokens.
        length: most tokens of a text.
        width: C'.
        layers, heads: number of blocks and of attention heads.
    """

    vocab_size: int = 49408
    length: int = 77
    width: int = 512
    layers: int = 12
    heads: int = 8

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads.")
        if min(self.vocab_size, self.length, self.layers) < 1:
            raise ConfigError(f"vocab_size is {self.vocab_size}, length {self.length}, layers {self.layers}; all must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class FDTClipConfig:
    """Settings of `FDTClip`; the defaults are those of the authors' ViT-B/32.

    Attributes:
        tower: settings of the image tower.
        text: settings of the text tower.
        codes: settings of the dictionary and of the maps to it; its widths are those of the towers.
    """

    tower: TowerConfig = field(
        default_factory=lambda: TowerConfig(
            image_size=224, patch_size=32, width=768, layers=12, heads=12, hidden=3072, registers=0, layer_scale=None, gelu="quick",
            eps=1e-5, norm_in=True, norm_out="none", patch_bias=False,
        )
    )  # fmt: skip
    text: TextTowerConfig = TextTowerConfig()
    codes: FDTConfig = FDTConfig()

    def __post_init__(self) -> None:
        towers, codes = (self.tower.width, self.text.width), (self.codes.width, self.codes.text_width)
        if towers != codes:
            raise ConfigError(f"tower.width and text.width are {towers}, codes.width and codes.text_width {codes}; they must be equal.")


class TextTower(nn.Module):
    """A causal transformer over the tokens of a text; returns the state of each, `[B, N, C']`."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.tokens = nn.Embedding(c.vocab_size, c.width)
        self.positions = nn.Parameter(torch.randn(c.length, c.width) * 0.01)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.blocks = nn.ModuleList(ViTBlock(c.width, c.heads, gelu="quick") for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)

    def forward(self, ids: Tensor) -> Tensor:
        """States `[B, N, C']` of tokens int64 `[B, N]`, of which negative ones are padding.

        Raises:
            ValueError: longer texts, or tokens that there are not.
        """
        c = self.config
        if ids.ndim != 2 or ids.shape[1] > c.length or (ids.numel() and int(ids.max()) >= c.vocab_size):
            raise ValueError(
                f"texts are tokens [B, N] below {c.vocab_size} with N at most {c.length}; got {list(ids.shape)}"
                f"{f' with token {int(ids.max())}' if ids.numel() else ''}."
            )
        y = self.tokens(ids.clamp(min=0)) + self.positions[: ids.shape[1]]
        earlier = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        for block in self.blocks:
            y = block(y, earlier)
        return self.norm(y)


class FDTClip(ImageTokenizer):
    """Pictures in 0..1 of any size to ids `[B, 1, h w]`; `decode` raises NotDecodable. Texts go through `mixture_of_texts`."""

    family: ClassVar[str] = "fdt_clip"
    config_class: ClassVar[type] = FDTClipConfig
    encoder_only = ("tower", "text", "codes.image_map", "codes.text_map")
    decoder_only = ()
    config: FDTClipConfig
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: FDTClipConfig) -> None:
        super().__init__()
        self.config = c = config
        self.tower = VisionTower(c.tower)
        self.text = TextTower(c.text)
        self.codes = FDT(c.codes)
        self.register_buffer("pixel_mean", torch.tensor(CLIP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("pixel_std", torch.tensor(CLIP_STD)[:, None, None], persistent=False)
        self.spec = ImageSpec.of(
            self.codes.quantizer,
            stride=c.tower.patch_size,
            value_range=(0.0, 1.0),
            decodes=False,
            semantic_dim=c.codes.code_dim,
        )

    @property
    def quantizer(self) -> Quantizer:
        """The dictionary, which belongs to `codes`."""
        return self.codes.quantizer

    def patch_features(self, x: Tensor) -> Tensor:
        """States `[B, C, L]` of the patches of pictures `[B, 3, H, W]` in 0..1, H and W multiples of the patch."""
        return self.tower((x - self.pixel_mean) / self.pixel_std).transpose(1, 2)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of pictures `[B, 3, H, W]`."""
        return self.codes.queries(self.patch_features(x))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Vectors `[B, D, L]` of the dictionary."""
        return self.vectors_of(ids, grid)

    def mixture(self, x: Tensor) -> Mixture:
        """One mixture of codes for each picture `[B, 3, H, W]` in 0..1, with gradients."""
        return self.codes.mixture(self.patch_features(pad_to_stride(x, self.size_multiple)))

    def mixture_of_texts(self, ids: Tensor) -> Mixture:
        """One mixture of codes for each text, tokens int64 `[B, N]` of which negative ones are padding, with gradients."""
        return self.codes.mixture(self.text(ids).transpose(1, 2), side="text", padding=(ids < 0).long())

    def forward(self, x: Tensor, text: Tensor | None = None) -> Reconstruction:
        """Quantize each patch with gradients; `x_hat` is the vectors of the ids, `[B, D, L]`, not a picture.

        Args:
            x: pictures `[B, 3, H, W]`.
            text: tokens of the texts that belong to them, as `mixture_of_texts` takes them.

        Returns:
            Among its features are "mixture" `[B, D, 1]` and, with texts, "text_mixture" `[B, D, 1]`.
        """
        x = pad_to_stride(x, self.size_multiple)
        states = self.patch_features(x)
        z = self.codes.queries(states)
        quantized = self.quantizer(z, grid=self.grid_of(x))
        features = {"mixture": self.codes.mixture(states).feature.unsqueeze(2)}
        if text is not None:
            features["text_mixture"] = self.mixture_of_texts(text).feature.unsqueeze(2)
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized, features=features)
