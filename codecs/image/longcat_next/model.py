"""LongCat-Next's visual tokenizer dNaViT: pictures of any size to 8 residual ids for every 28 x 28 pixels.

Meituan LongCat Team 2026, "LongCat-Next: Lexicalizing Modalities as Discrete Tokens", arXiv 2603.27538. Read from
meituan-longcat/LongCat-Next-inference @ 70ab100bee (no licence file; the model's repository is MIT): `LongcatNextVisualTokenizer`
and `VisionTransformerDecoder`. The tower was checked against `transformers`, the codes and the pixel decoder against the
authors' classes. The default sizes were not checked against the published config; the converter reads them from that file.

The tower of Qwen2.5-VL encodes pictures `[B, 3, H, W]` to patch features, of which 2 x 2 are merged: `[B, C, h, w]`. A small network
maps them to the latents `[B, D, h w]`, and 8 residual levels with one shared table return ids `[B, K, h w]`. A ViT decodes the sum of
the codes to `[B, 3, H, W]`. The flow-matching model of `refiner.py`, by which the authors draw the picture anew from codes and ViT's
picture, is a choice: `decode(tokens, refiner="meituan-longcat/LongCat-Next")`.

Differs: pictures are padded to whole positions where the authors resize them; attention is scaled dot-product attention, not
flash attention.

Letters: B batch, H W pixels, h w grid of positions, m merged patches on a side, D width, L = h w.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.grid_cells import of_cells
from ...layers.rotary_vit import rotate
from ...layers.vision_tower import CLIP_MEAN, CLIP_STD
from ...options import check_at_least
from ...quantizers.base import Quantizer
from ...recomputable import Recomputable
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import pad_to_stride
from ..refined import Refined, RefineDecodeOptions
from .codes import LongCatNextCodes, LongCatNextCodesConfig
from .refiner import Refiner, RefinerConfig
from .window_vit import WindowTower, WindowTowerConfig


@dataclass(frozen=True, kw_only=True)
class PixelDecoderConfig:
    """Settings of `PixelDecoder`.

    Attributes:
        width: D, channels of the transformer.
        layers, heads: number of layers and of attention heads.
        hidden: hidden width of the MLPs and of the map to pixels.
        gated: MLPs are SwiGLU; False: one plain hidden layer with GELU.
        inner_norms: further norms, before the output maps of attention and MLP.
        biases: whether the query, key and value maps have a bias.
        eps: epsilon of most norms.
        scale_twice: queries are divided by the root of the head width twice, as in the authors' code on a GPU; their other path
            divides once.
    """

    width: int = 1024
    layers: int = 32
    heads: int = 16
    hidden: int = 4096
    gated: bool = True
    inner_norms: bool = False
    biases: tuple[bool, bool, bool] = (True, True, True)
    eps: float = 1e-6
    scale_twice: bool = True

    def __post_init__(self) -> None:
        if self.width % (4 * self.heads):
            raise ConfigError(f"width {self.width} must be a multiple of 4 heads, {4 * self.heads}: rows and columns rotate pairs.")


@dataclass(frozen=True, kw_only=True)
class LongCatNextConfig:
    """Settings of `LongCatNext`.

    Attributes:
        tower: settings of the encoder's vision tower.
        train_tower: whether the tower is trained; the published one is frozen.
        merge: m, patches on a side that become one position.
        codes: settings of the map to the codes, see `LongCatNextCodesConfig`; its `width` is the width of the merged features.
        pixel_decoder: settings of the ViT from codes to pixels.
        refiner: settings of the refiner; None: there is none before `set_refiner`.
    """

    tower: WindowTowerConfig = WindowTowerConfig()
    train_tower: bool = False
    merge: int = 2
    codes: LongCatNextCodesConfig = field(default_factory=LongCatNextCodesConfig)
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig()
    refiner: RefinerConfig | None = None

    def __post_init__(self) -> None:
        if self.tower.window % self.merge:
            raise ConfigError(f"tower.window {self.tower.window} must be a multiple of merge, {self.merge} patches.")

    @property
    def stride(self) -> int:
        """Pixels on a side of a position."""
        return self.tower.patch_size * self.merge


class PixelDecoderBlock(nn.Module, Recomputable):
    """x + attention(RMSNorm(x)), then x + MLP(RMSNorm(x)); `[B, n, D]`, queries and keys rotated in pairs of channels."""

    def __init__(self, config: PixelDecoderConfig) -> None:
        super().__init__()
        c, width = config, config.width
        self.heads = c.heads
        self.scale = (width // c.heads) ** (-1.0 if c.scale_twice else -0.5)
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width, eps=c.eps), nn.RMSNorm(width, eps=c.eps)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=b) for b in c.biases)
        self.attention_inner = nn.RMSNorm(width, eps=c.eps) if c.inner_norms else nn.Identity()
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, c.hidden)
        self.gate = nn.Linear(width, c.hidden) if c.gated else None
        self.mlp_inner = nn.RMSNorm(c.hidden, eps=c.eps) if c.inner_norms else nn.Identity()
        self.down = nn.Linear(c.hidden, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Transform `[B, n, D]`; `cos` and `sin` are `[n, d]`."""
        y = self.attention_norm(x)
        q, k, v = (m(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.q, self.k, self.v))  # [B, heads, n, d]
        q, k = (rotate(z, cos, sin, "pairs") for z in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2).flatten(2)
        x = x + self.out(self.attention_inner(y))
        y = self.mlp_norm(x)
        y = F.gelu(self.up(y)) if self.gate is None else F.silu(self.gate(y)) * self.up(y)
        return x + self.down(self.mlp_inner(y))


class PixelDecoder(nn.Module):
    """Codes `[B, code_dim, h, w]` to pixels `[B, 3, H, W]`, normalised as the tower's input.

    Each position becomes m x m patches. As in the authors' code the patches of a position stay together in the sequence,
    while the rotary positions count through the whole grid row by row.
    """

    def __init__(self, config: PixelDecoderConfig, *, code_dim: int, patch_size: int, merge: int) -> None:
        super().__init__()
        c = config
        self.config, self.patch_size, self.merge = c, patch_size, merge
        width, grown = c.width, c.width * merge**2
        self.from_code = nn.Linear(code_dim, width)
        self.code_norm = nn.RMSNorm(width, eps=c.eps)
        self.split_norm = nn.RMSNorm(width, eps=1e-6)
        self.split = nn.Sequential(nn.Linear(width, grown), nn.GELU(), nn.Linear(grown, grown))
        self.norm_in, self.norm_out = nn.RMSNorm(width, eps=c.eps), nn.RMSNorm(width, eps=c.eps)
        self.blocks = nn.ModuleList(PixelDecoderBlock(c) for _ in range(c.layers))
        self.to_pixels = nn.Sequential(nn.Linear(width, c.hidden), nn.GELU(), nn.Linear(c.hidden, 3 * patch_size**2))

    def forward(self, z_q: Tensor) -> Tensor:
        """Decode `[B, code_dim, h, w]` to normalised pixels `[B, 3, H, W]`."""
        m, p, (h, w) = self.merge, self.patch_size, z_q.shape[2:]
        y = self.code_norm(self.from_code(z_q.flatten(2).transpose(1, 2)))  # [B, h w, D]
        y = self.split(self.split_norm(y)).unflatten(2, (m * m, -1)).flatten(1, 2)  # [B, h w m m, D]
        cos, sin = (t.to(y) for t in row_column_rotations(h * m, w * m, self.config.width // self.config.heads))
        y = self.norm_in(y)
        for block in self.blocks:
            y = block(y, cos, sin)
        y = self.to_pixels(self.norm_out(y))  # [B, h w m m, 3 p p]
        y = y.unflatten(2, (3, p, p)).unflatten(1, (h, w, m, m)).permute(0, 5, 1, 3, 6, 2, 4, 7)  # [B, 3, h, m, p, w, m, p]
        return y.flatten(5, 7).flatten(2, 4)


@dataclass(frozen=True, kw_only=True)
class LongCatNextDecodeOptions(RefineDecodeOptions):
    """Options of `LongCatNext.decode`.

    Attributes:
        image_guidance: weight of the pixel decoder's picture in the refiner, 1: no guidance; none: the refiner's default, 1.5.
    """

    image_guidance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("image_guidance", self.image_guidance, 0)


class LongCatNext(Refined):
    """Pictures in 0..1 of any size to ids `[B, K, h w]` and back; the first k codebooks alone can be decoded."""

    family: ClassVar[str] = "longcat_next"
    config_class: ClassVar[type] = LongCatNextConfig
    encoder_only = ("tower", "merge_norm", "merge", "codes.to_code")
    decoder_only = ("pixel_decoder", "refiner")
    decode_options = LongCatNextDecodeOptions
    published_refiner = ("meituan-longcat/LongCat-Next", "config.json and image_decoder/image_decoder.safetensors")
    config: LongCatNextConfig
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: LongCatNextConfig) -> None:
        super().__init__()
        self.config = c = config
        grown = c.tower.width * c.merge**2
        self.tower = WindowTower(c.tower)
        self.merge_norm = nn.RMSNorm(c.tower.width, eps=1e-6)
        self.merge = nn.Sequential(nn.Linear(grown, grown), nn.GELU(), nn.Linear(grown, c.codes.width))
        self.tower.requires_grad_(c.train_tower)
        self.codes = LongCatNextCodes(c.codes)
        self.pixel_decoder = PixelDecoder(c.pixel_decoder, code_dim=c.codes.code_dim, patch_size=c.tower.patch_size, merge=c.merge)
        self.refiner = None if c.refiner is None else self._fitting(Refiner(c.refiner))
        self.register_buffer("pixel_mean", torch.tensor(CLIP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("pixel_std", torch.tensor(CLIP_STD)[:, None, None], persistent=False)
        self.spec = ImageSpec.of(
            self.codes.quantizer,
            stride=c.stride,
            value_range=(0.0, 1.0),
            semantic_dim=c.codes.code_dim,
        )

    @property
    def quantizer(self) -> Quantizer:
        """The residual tables, which belong to `codes`."""
        return self.codes.quantizer

    def features(self, x: Tensor) -> Tensor:
        """Merged features `[B, C, h, w]` of pictures `[B, 3, H, W]` in 0..1, H and W multiples of the stride."""
        m = self.config.merge
        y = self.merge_norm(self.tower((x - self.pixel_mean) / self.pixel_std))  # [B, h m, w m, D]
        y = y.unflatten(2, (-1, m)).unflatten(1, (-1, m)).transpose(2, 3)  # [B, h, w, m, m, D]
        return self.merge(y.flatten(3)).permute(0, 3, 1, 2)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, h w]` of pictures `[B, 3, H, W]`."""
        return self.codes.encode_latents(self.features(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, h w]`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        return self.pixel_decoder(z_q.unflatten(2, (grid[0], grid[1]))) * self.pixel_std + self.pixel_mean

    def read_refiner(self, source: Any) -> Refiner:
        """The refiner of a folder or hub repository."""
        from .refiner_keys import read_refiner

        return read_refiner(source)

    def _keep_refiner(self, module: nn.Module) -> None:
        if not isinstance(module, Refiner):
            raise ValueError(f"the refiner of {self.family} is a Refiner, a folder or a hub id; got {type(module).__name__}.")
        self.refiner, self.config = self._fitting(module), dataclasses.replace(self.config, refiner=module.config)

    def _fitting(self, refiner: Refiner) -> Refiner:
        if refiner.config.code_dim != self.config.codes.code_dim:
            raise ConfigError(
                f"the refiner reads codes of {refiner.config.code_dim} channels, the tokenizer has {self.config.codes.code_dim}; "
                "only the refiner that was trained with these codes fits."
            )
        return refiner

    def refined(self, z_q: Tensor, grid: tuple[int, ...], *, noise: Tensor | None, options: LongCatNextDecodeOptions) -> Tensor:
        """Pictures `[B, 3, H', W']` in 0..1 that the refiner draws from latents `[B, D, L]` and the pixel decoder's pictures."""
        assert isinstance(self.refiner, Refiner)
        o = options
        weights = {"steps": o.steps, "guidance": o.guidance, "image_guidance": o.image_guidance}
        return self.refiner(z_q.transpose(1, 2), self.decode_latents(z_q, grid), noise=noise, seed=o.seed or 0, **weights)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Sums `[B, D, L]` of the vectors of all levels, the input of the language model."""
        return self.vectors_of(ids, grid)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; `features["merged"]` are the tower's `[B, C, h w]`, before the codes."""
        size, x = x.shape[-2:], pad_to_stride(x, self.size_multiple)
        grid = self.grid_of(x)
        merged = self.features(x)
        z = self.codes.encode_latents(merged)
        quantized = self.quantizer(z, grid=grid)
        x_hat = self.decode_latents(quantized.z_q, grid)[..., : size[0], : size[1]]
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features={"merged": merged.flatten(2)})


def row_column_rotations(h: int, w: int, head_width: int, *, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[h w, d]`: the first half of the channels is rotated by the row, the second by the column."""
    quarter = head_width // 4
    rate = theta ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
    rows, columns = (torch.arange(n, dtype=torch.float32)[:, None] * rate for n in (h, w))
    angles = torch.cat(of_cells(rows, columns), dim=1).repeat_interleave(2, dim=1)
    return angles.cos(), angles.sin()
