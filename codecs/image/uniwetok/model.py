"""UniWeTok: 64 tokens of 128 bits for a 256 x 256 picture, from convolutions with attention at the coarsest grid.

Zhuang et al. 2026, "UniWeTok: An Unified Binary Tokenizer with Codebook Size 2^128", arXiv 2602.14178.
Parity checked against shallowdream204/BitDance @ 4c5ea90161 (Apache-2.0), modeling/vision_encoder/autoencoder_uni.py
`VQModel`, with flash attention replaced by scaled dot-product attention.

Convolutions, with a transformer at the coarsest grid, encode pictures `[B, 3, H, W]` to latents `[B, b, h w]`, limited to -1..1 by
SigLu, 2 sigmoid(x) - 1; their signs are the bits, K ids for each position: `[B, K, h w]`. The decoder mirrors the encoder. It is
generative: channels of Gaussian noise are concatenated with the code, so `decode` is a function of a `seed` (or of the `noise`).

Letters: B batch, C channels, H W pixels, h w grid, b bits a position.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from ...kernels.conv_stack import ConvStack, Stage
from ...layers.grid_cells import of_cells
from ...layers.rotary_vit import RotaryBlock
from ...layers.vqgan import DecoderConfig, VQGANDecoder
from ...layers.vqgan_blocks import ResBlock, group_norm
from ...quantizers.base import QuantizerConfig
from ...quantizers.sign import SignConfig
from ...spec import ImageSpec
from ..vqgan.model import VQGAN, noise_options


@dataclass(frozen=True, kw_only=True)
class GridAttentionConfig:
    """Settings of the transformer over the coarsest grid.

    Attributes:
        blocks: number of transformer blocks; 0: no transformer.
        heads: number of attention heads; a head's width must be a multiple of 4.
        registers: number of learned tokens that are added to the sequence and dropped at the end.
    """

    blocks: int = 2
    heads: int = 16
    registers: int = 4


@dataclass(frozen=True, kw_only=True)
class UniWeTokConfig:
    """Settings of `UniWeTok`.

    Attributes:
        widths: C of each level, fine to coarse; the stride is 2^(levels - 1).
        blocks: residual blocks at each level.
        attention: settings of the transformer that encoder and decoder have at the coarsest grid.
        latent_dim: b, channels of the latents and bits of a position.
        quantizer: settings of any binary quantizer; its `dim` is filled in. SigLu is part of the encoder here, not of the quantizer.
    """

    widths: tuple[int, ...] = (256, 256, 512, 512, 1024, 1024)
    blocks: int = 4
    attention: GridAttentionConfig = field(default_factory=GridAttentionConfig)
    latent_dim: int = 128
    quantizer: QuantizerConfig = SignConfig(bits=128)

    def __post_init__(self) -> None:
        if len(self.widths) < 2:
            raise ValueError(f"widths is {self.widths}; at least two levels are needed.")

    @property
    def decoder(self) -> DecoderConfig:
        """Settings of the decoder's convolutional part."""
        return DecoderConfig(
            widths=self.widths,
            blocks=self.blocks,
            middle=("residual",) * self.blocks,
            bias=False,
            resample="depth_to_space",
            condition="adaptive",
            noise=True,
        )

    @property
    def network_range(self) -> None:
        """Range of pixel values of input and output, -1..1."""
        return None

    @property
    def clip(self) -> bool:
        """Whether decoded pixels are clipped: False."""
        return False


class GridAttention(nn.Module):
    """Rotary transformer over a feature map, `[B, C, H, W]`, with register tokens.

    For every size, positions are scaled to an 8 x 8 grid; registers have position 0, the grid begins at 1. As in the authors' code,
    the encoder maps row or column n to 7 n / last + 1.5, the decoder to 7.5 (n + 0.5) / (last + 0.5) + 1.
    """

    def __init__(self, width: int, config: GridAttentionConfig, side: Literal["encoder", "decoder"]) -> None:
        super().__init__()
        if width % config.heads or width // config.heads % 4:
            raise ValueError(f"{width} channels in {config.heads} heads: a head's width must be a multiple of 4.")
        self.side, self.head_width = side, width // config.heads
        self.registers = nn.Parameter(torch.randn(config.registers, width))
        hidden = -(-int(2 * (4.0 * width) / 3) // 256) * 256  # two thirds of 4 C, up to a multiple of 256 (LLaMA)
        self.blocks = nn.ModuleList(
            RotaryBlock(width, config.heads, hidden=hidden, rotation="pairs", qk_norm=False) for _ in range(config.blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Transform a feature map `[B, C, H, W]`."""
        if not len(self.blocks):
            return x
        shape, count = x.shape, len(self.registers)
        y = torch.cat([self.registers.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        cos, sin = self._table(shape[2], shape[3], y)
        for block in self.blocks:
            y = block(y, cos, sin)  # [B, registers + H W, C]
        return y[:, count:].transpose(1, 2).contiguous().view(shape)

    def _positions(self, length: int, like: Tensor) -> Tensor:
        """Coordinates `[length]` along one axis."""
        at = torch.arange(length, device=like.device, dtype=like.dtype)
        if self.side == "encoder":
            return at * (7.0 / at[-1].clamp(min=1)) + 0.5  # Differs: 0.5 for a single row, where the authors' formula gives NaN
        return (at + 0.5) * (7.5 / (at[-1] + 0.5))

    def _table(self, height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines `[registers + H W, d]`; the first half of the angles is of the column, the second of the row."""
        rows, columns = self._positions(height, like) + 1, self._positions(width, like) + 1
        at = torch.stack(of_cells(rows, columns)[::-1], dim=1)  # [H W, 2]
        at = torch.cat([at.new_zeros(len(self.registers), 2), at])
        half = self.head_width // 2
        frequency = 1 / 10000.0 ** (torch.arange(0, half, 2, device=like.device, dtype=like.dtype) / half)  # [d / 4]
        angles = (at[:, :, None] * frequency).flatten(1).repeat_interleave(2, dim=1)
        return angles.cos(), angles.sin()


class UniEncoder(ConvStack):
    """Pictures `[B, 3, H, W]` to `[B, b, h, w]`. Other than in VQGAN, the strided convolutions change the width."""

    def __init__(self, config: UniWeTokConfig) -> None:
        super().__init__()
        c = config
        self.widths = c.widths
        self.stem = nn.Conv2d(3, c.widths[0], 3, padding=1, bias=False)
        self.levels = nn.ModuleList()
        for level, width in enumerate(c.widths):
            blocks: list[nn.Module] = [
                ResBlock(width, width, group_norm(width), group_norm(width), bias=False) for _ in range(c.blocks)
            ]
            if level + 1 < len(c.widths):
                blocks.append(nn.Conv2d(width, c.widths[level + 1], 3, stride=2, padding=1))
            self.levels.append(nn.Sequential(*blocks))
        self.attention = GridAttention(c.widths[-1], c.attention, "encoder")
        self.norm = group_norm(c.widths[-1])
        self.head = nn.Conv2d(c.widths[-1], c.latent_dim, 1)

    def run(self, x: Tensor) -> Tensor:
        """Output of the last convolution, `[B, b, h, w]`, of pictures `[B, 3, H, W]`."""
        for index, width in enumerate(self.widths):
            level = cast(nn.Sequential, self.levels[index])
            layers, last = [*level] if index else [self.stem, *level], index + 1 == len(self.levels)
            reach = 2 * len(level)  # each block reaches two positions, stem and strided convolution one
            x = self.through(x, Stage(layers=layers, width=width, reach=reach, down=1 if last else 2))
        return self.head(self.norm(self.attention(x)))


class UniWeTok(VQGAN):
    """Pictures of any size to b bits for each `stride` x `stride` pixels and back; see the module's docstring.

    ids `[B, K, L]` are K groups of channels, in order, the first channel of a group being its lowest bit.
    """

    family: ClassVar[str] = "uniwetok"
    config_class: ClassVar[type] = UniWeTokConfig
    config: UniWeTokConfig

    def __init__(self, config: UniWeTokConfig) -> None:
        super(VQGAN, self).__init__()  # only the noisy decoding is shared with VQGAN, not the network
        self.config = c = config
        self.encoder = UniEncoder(c)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.decoder = VQGANDecoder(c.decoder, c.latent_dim)
        self.decoder.stem = nn.Sequential(self.decoder.stem, GridAttention(c.widths[-1], c.attention, "decoder"))
        self.from_code = nn.Identity()
        self.decode_options = noise_options(c.decoder)
        self.spec = ImageSpec.of(self.quantizer, stride=2 ** (len(c.widths) - 1))

    @property
    def size_multiple(self) -> int:
        """Height and width are padded to multiples of this number of pixels: the stride."""
        return self.spec.stride

    def encode_features(self, x: Tensor) -> Tensor:
        """The encoder's output `[B, b, h, w]` before SigLu, of pictures `[B, 3, H, W]`."""
        return self.encoder(x)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, b, h w]` in -1..1 of pictures `[B, 3, H, W]`."""
        return 2 * torch.sigmoid(self.encode_features(x).flatten(2)) - 1
