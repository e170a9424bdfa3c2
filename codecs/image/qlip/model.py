"""QLIP: binary spherical codes between two rotary ViTs, of which the first began as a CLIP's tower and stays aligned with texts.

Zhao et al. 2025, "QLIP: Text-Aligned Visual Tokenization Unifies Auto-Regressive Multimodal Understanding and Generation", arXiv
2502.05178. Read from and compared with NVlabs/QLIP @ cf86fcc513 (NVIDIA Source Code License-NC), class `QLIPModel`, pictures only.

The encoder is a ViT of EVA-02 (arXiv 2303.11331) over a class token and patches. An MLP maps the states of the patches, before any
norm, to b channels, which are scaled to unit length; their signs are the bits of a position, in a few ids `[B, K, L]`. A second MLP
maps the codes to the decoder's width; its ViT has no class token.

Differs: the ids of 28 bits are two of 14, the authors' `group_indices` with a `group_size` of 14. Their single index of all bits is
added up in float32, which rounds it to 24 bits; unrounded it is `ids[:, 0] * 2**14 + ids[:, 1]`.

Differs: the text tower and the pooled embedding of the class token, with their contrast in training, are not here.
The colours' mean and deviation stand in a file that was not seen (`preprocessor_config.json`); CLIP's are taken, which are the default
of its processor and those of EVA-02-CLIP.

Letters: B batch, H W pixels, g grid side, L = g g positions, b bits a position, C width of a transformer, d width of a head.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.rotary_vit import rotate
from ...layers.vision_tower import CLIP_MEAN, CLIP_STD
from ...layers.vit import QuickGELU, embedding, init_linear
from ...precision import unit_norm
from ...quantizers.base import QuantizerConfig
from ...quantizers.bsq import BSQConfig
from ...recomputable import Recomputable
from ...spec import ImageSpec
from ...start import start_positions
from ..base import ImageTokenizer

#: Grid side of the pretrained EVA-02: positions of every grid are rotated as if they lay within that many cells.
_PRETRAINED_SIDE = 16


@dataclass(frozen=True, kw_only=True)
class EvaConfig:
    """Settings of one of the two transformers; the defaults are those of EVA-02-CLIP-B/16.

    Attributes:
        width, layers, heads: C, number of blocks and of attention heads.
        hidden: hidden width of the MLPs.
        gated: MLPs are SwiGLUs; False: two linear maps with `gelu` between.
        inner_norm: LayerNorm before the last linear map of attention and MLP.
        rotary: rotate queries and keys of patches by row and column.
        qkv_bias: biases of the maps to queries, to keys and to values.
        eps: epsilon of the LayerNorms.
        gelu: exact GELU ("none"), or its approximation by a "tanh" or a sigmoid ("quick").
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 2048
    gated: bool = True
    inner_norm: bool = True
    rotary: bool = True
    qkv_bias: tuple[bool, bool, bool] = (True, False, True)
    eps: float = 1e-6
    gelu: str = "none"

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads.")
        if self.rotary and self.width // self.heads % 4:
            raise ConfigError(f"heads of {self.width // self.heads} channels; with rotary, a multiple of 4 is needed.")
        if self.gelu not in ("none", "tanh", "quick"):
            raise ConfigError(f"gelu is {self.gelu!r}; allowed: 'none', 'tanh', 'quick'.")


@dataclass(frozen=True, kw_only=True)
class QLIPConfig:
    """Settings of `QLIP`; sizes as the paper names them for B-16, since the published config was not seen.

    Attributes:
        image_size: side of the pictures in pixels.
        patch_size: pixels on a side of a patch; the stride.
        encoder, decoder: settings of both transformers.
        latent_dim: b, channels of the latents and bits of a position.
        normalize: scale latents to unit length.
        quantizer: any binary kind; its `dim` is filled in.
        head_width: hidden width of the decoder's tanh layer before the pixels.
        pixel_mean, pixel_std: mean and deviation of the colours in 0..1.
    """

    image_size: int = 256
    patch_size: int = 16
    encoder: EvaConfig = EvaConfig()
    decoder: EvaConfig = EvaConfig()
    latent_dim: int = 28
    normalize: bool = True
    quantizer: QuantizerConfig = BSQConfig(bits=28, normalize=False, entropy="analytic", entropy_temperature=0.01, entropy_weight=0.01)
    head_width: int = 2048
    pixel_mean: tuple[float, float, float] = CLIP_MEAN
    pixel_std: tuple[float, float, float] = CLIP_STD

    @property
    def side(self) -> int:
        """g, patches on a side."""
        return self.image_size // self.patch_size

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ConfigError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}.")


def angles(side: int, width: int, extra: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[extra + side side, width]` of a grid's positions, in which the first `extra` ones are not rotated.

    The first half of the channels turns with the row, the second with the column; neighbours share a frequency.
    """
    half = width // 2
    frequencies = 1 / 10000 ** (torch.arange(0, half, 2).float() / half)
    along = (torch.arange(side) / side * _PRETRAINED_SIDE)[:, None] * frequencies
    along = along.repeat_interleave(2, dim=1)  # [g, half]
    grid = torch.cat([along[:, None].expand(-1, side, -1), along[None].expand(side, -1, -1)], dim=-1).flatten(0, 1)
    grid = torch.cat([grid.new_zeros(extra, width), grid])
    return grid.cos(), grid.sin()


class EvaAttention(nn.Module):
    """Self-attention `[B, L, C]`, its queries and keys rotated if `cos` and `sin` `[L, d]` are given."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        c = config
        self.heads = c.heads
        self.q, self.k, self.v = (nn.Linear(c.width, c.width, bias=bias) for bias in c.qkv_bias)
        self.norm = nn.LayerNorm(c.width, eps=c.eps) if c.inner_norm else nn.Identity()
        self.out = nn.Linear(c.width, c.width)

    def forward(self, x: Tensor, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        """Attention over `x [B, L, C]`."""
        q, k, v = (to(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for to in (self.q, self.k, self.v))  # each [B, heads, L, d]
        if cos is not None and sin is not None:
            cos, sin = cos.to(q.dtype), sin.to(q.dtype)
            q, k = rotate(q, cos, sin, "pairs"), rotate(k, cos, sin, "pairs")
        return self.out(self.norm(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))


class EvaMLP(nn.Module):
    """SwiGLU, or a plain MLP, with a LayerNorm before the last map; `[B, L, C]`."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        c = config
        self.gate = nn.Linear(c.width, c.hidden) if c.gated else None
        self.up = nn.Linear(c.width, c.hidden)
        self.gelu = QuickGELU() if c.gelu == "quick" else nn.GELU(approximate=c.gelu)
        self.norm = nn.LayerNorm(c.hidden, eps=c.eps) if c.inner_norm else nn.Identity()
        self.down = nn.Linear(c.hidden, c.width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position of `[B, L, C]`."""
        up = self.up(x)
        return self.down(self.norm(self.gelu(up) if self.gate is None else F.silu(self.gate(x)) * up))


class EvaBlock(nn.Module, Recomputable):
    """x + attention(norm(x)), then x + MLP(norm(x)); `[B, L, C]`."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = EvaAttention(config)
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = EvaMLP(config)

    def forward(self, x: Tensor, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        """Apply the block to `x [B, L, C]`."""
        x = x + self.attention(self.attention_norm(x), cos, sin)
        return x + self.mlp(self.mlp_norm(x))


class EvaViT(nn.Module):
    """Learned positions and blocks over `extra` tokens and a grid of patches; `[B, extra + L, C]`, not normalised."""

    cos: Tensor | None
    sin: Tensor | None

    def __init__(self, config: EvaConfig, side: int, *, extra: int) -> None:
        super().__init__()
        c = config
        self.positions = nn.Parameter(torch.randn(extra + side**2, c.width) * start_positions(c.width, c.width**-0.5))
        self.blocks = nn.ModuleList(EvaBlock(c) for _ in range(c.layers))
        cos, sin = angles(side, c.width // c.heads, extra) if c.rotary else (None, None)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a sequence `[B, extra + L, C]`."""
        x = x + self.positions
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return x


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class QLIP(ImageTokenizer):
    """Pictures of one size in 0..1 to ids `[B, K, L]` and back; see the module's docstring."""

    family: ClassVar[str] = "qlip"
    config_class: ClassVar[type] = QLIPConfig
    encoder_only = ("patch_embed", "class_token", "encoder", "to_code")
    decoder_only = ("from_code", "decoder", "norm_out", "head", "to_pixels")
    config: QLIPConfig
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: QLIPConfig) -> None:
        super().__init__()
        self.config = c = config
        p, first, last = c.patch_size, c.encoder.width, c.decoder.width
        self.patch_embed = nn.Conv2d(3, first, p, stride=p)
        self.class_token = embedding(1, first)
        self.encoder = EvaViT(c.encoder, c.side, extra=1)
        self.to_code = _mlp(first, first, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.from_code = _mlp(c.latent_dim, last, last)
        self.decoder = EvaViT(c.decoder, c.side, extra=0)
        self.norm_out = nn.LayerNorm(last, eps=c.decoder.eps)
        self.head = nn.Sequential(nn.Linear(last, c.head_width), nn.Tanh())
        self.to_pixels = nn.Linear(c.head_width, 3 * p**2)
        self.apply(init_linear)
        self.register_buffer("pixel_mean", torch.tensor(c.pixel_mean)[:, None, None], persistent=False)
        self.register_buffer("pixel_std", torch.tensor(c.pixel_std)[:, None, None], persistent=False)
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=p,
            image_size=(c.image_size, c.image_size),
            value_range=(0.0, 1.0),
            resize="crop",
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, b, L]` of pictures `[B, 3, H, W]`."""
        y = self.patch_embed((x - self.pixel_mean) / self.pixel_std).flatten(2).transpose(1, 2)
        y = self.encoder(torch.cat([self.class_token.expand(len(x), -1, -1), y], dim=1))[:, 1:]
        z = self.to_code(y)
        return (unit_norm(z) if self.config.normalize else z).transpose(1, 2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, b, L]`, not clipped."""
        y = self.norm_out(self.decoder(self.from_code(z_q.transpose(1, 2))))
        y = self.to_pixels(self.head(y)).transpose(1, 2).unflatten(2, (self.config.side, self.config.side))
        return F.pixel_shuffle(y, self.config.patch_size) * self.pixel_std + self.pixel_mean
