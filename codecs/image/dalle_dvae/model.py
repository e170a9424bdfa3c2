"""DALL-E's discrete VAE: residual ReLU convolutions, 8 pixels a token, one of 8192 codes by the highest logit.

Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", arXiv 2102.12092, section 2.1 and appendix A; checked against openai/DALL-E @
5be4b236bc (modified MIT), whose code holds the networks alone. BEiT reads the same ids.

Pictures in 0..1 are first mapped to 0.1..0.9, where the logit of a pixel stays finite. Groups of residual blocks with a max-pooling
between them lead to features `[B, C, h, w]`, and a linear map to the logits of V codes; the id is their argmax. The decoder begins with
one vector for each code and mirrors the encoder with nearest-neighbour doubling. It predicts, for each colour of each pixel, location
and log-scale of a Laplace distribution over the pixel's logit; the picture is the sigmoid of the location, mapped back to 0..1 and
clipped.

Differs: the decoder's first convolution, of a one-hot code, is the table of the quantizer, its bias included.

Letters: B batch, C channels of the coarsest group, H W pixels, h w grid, V codebook size, L = h w.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...config import ConfigError
from ...kernels.conv2d import Conv2d
from ...kernels.mode import Layer2d
from ...kernels.residual2d import Residual2d, sequence
from ...kernels.stream import Layer
from ...members import members
from ...quantizers.base import QuantizerConfig
from ...quantizers.gumbel import GumbelConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer, pad_to_stride

#: Distance of the mapped pixels from 0 and 1.
MARGIN = 0.1


@dataclass(frozen=True, kw_only=True)
class DalleDVAEConfig:
    """Settings of `DalleDVAE`; the defaults are those of the published model.

    Attributes:
        width: channels of the finest group; the others have 2, 4 and 8 times as many.
        groups: number of groups of blocks; the grid is halved between them.
        blocks: residual blocks of a group.
        code_dim: width of the vectors that the decoder begins with.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    width: int = 256
    groups: int = 4
    blocks: int = 2
    code_dim: int = 128
    quantizer: QuantizerConfig = GumbelConfig(codebook_size=8192, code_dim=128, kl_weight=6.6 / 192)

    def __post_init__(self) -> None:
        if self.width % 4:
            raise ConfigError(f"width is {self.width}; the hidden layers of a block have a quarter of it: give a multiple of 4.")
        code_dim = getattr(self.quantizer, "code_dim", 0) or self.code_dim
        if code_dim != self.code_dim:
            raise ConfigError(f"code_dim is {self.code_dim}, that of the quantizer {code_dim}; they must be equal.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each group, fine to coarse."""
        return tuple(self.width * 2**i for i in range(self.groups))

    @property
    def stride(self) -> int:
        """Pixels from one position to the next."""
        return 2 ** (self.groups - 1)


class Scale(Layer2d):
    """Multiply by a constant."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        """Scale `[B, C, H, W]`."""
        return x * self.gain


class DVAEBlock(Residual2d):
    """(ReLU, convolution) four times through a quarter of the channels, scaled, plus the input; `[B, C, H, W]` to `[B, C', H, W]`.

    Args:
        in_channels, out_channels: C and C'; where they differ, a 1x1 convolution maps the input to C'.
        kernels: sides of the four kernels.
        gain: factor of the branch; 1 over the squared number of blocks of the network.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernels: tuple[int, int, int, int], gain: float) -> None:
        super().__init__()
        hidden = out_channels // 4
        ins, outs = (in_channels, hidden, hidden, hidden), (hidden, hidden, hidden, out_channels)
        self.convs = nn.ModuleList(Conv2d(i, o, k, padding=k // 2) for i, o, k in zip(ins, outs, kernels, strict=True))
        self.act, self.scale = nn.ReLU(), Scale(gain)
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def branch(self) -> list[Layer]:
        """Layers of the residual branch, whose output is added to the input."""
        return [*(layer for conv in self.convs for layer in (self.act, conv)), self.scale]


def _groups(config: DalleDVAEConfig, widths: tuple[int, ...], first: int, kernels: tuple[int, int, int, int]) -> nn.ModuleList:
    """Groups of blocks with `widths`, in order; `first`: channels that come in."""
    gain = 1 / (config.groups * config.blocks) ** 2
    groups, before = nn.ModuleList(), first
    for width in widths:
        blocks = nn.ModuleList()
        for _ in range(config.blocks):
            blocks.append(DVAEBlock(before, width, kernels=kernels, gain=gain))
            before = width
        groups.append(blocks)
    return groups


class DVAEEncoder(nn.Module):
    """Pictures `[B, 3, H, W]` in 0..1 to features `[B, C, h, w]`."""

    def __init__(self, config: DalleDVAEConfig) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, config.width, 7, padding=3)
        self.groups = _groups(config, config.widths, config.width, (3, 3, 3, 1))
        self.halve, self.act = nn.MaxPool2d(2), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Encode `[B, 3, H, W]`, H and W multiples of the stride."""
        x = self.stem((1 - 2 * MARGIN) * x + MARGIN)
        for i, blocks in enumerate(members(self.groups, nn.ModuleList)):
            x = sequence(self.halve(x) if i else x, *blocks)
        return self.act(x)


class DVAEDecoder(nn.Module):
    """Vectors of codes `[B, code_dim, h, w]` to locations and log-scales `[B, 6, H, W]`."""

    def __init__(self, config: DalleDVAEConfig) -> None:
        super().__init__()
        self.groups = _groups(config, config.widths[::-1], config.code_dim, (1, 3, 3, 3))
        self.repeat, self.act = nn.Upsample(scale_factor=2, mode="nearest"), nn.ReLU()
        self.to_statistics = nn.Conv2d(config.width, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Decode `[B, code_dim, h, w]`."""
        for i, blocks in enumerate(members(self.groups, nn.ModuleList)):
            x = sequence(self.repeat(x) if i else x, *blocks)
        return self.to_statistics(self.act(x))


class DalleDVAE(ImageTokenizer):
    """DALL-E's tokenizer for pictures of any size; see the module's docstring. Large pictures are processed in tiles."""

    family: ClassVar[str] = "dalle_dvae"
    config_class: ClassVar[type] = DalleDVAEConfig
    encoder_only = ("encoder",)
    decoder_only = ("decoder", "from_code")
    config: DalleDVAEConfig

    def __init__(self, config: DalleDVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = DVAEEncoder(config)
        self.quantizer = config.quantizer.build(dim=config.widths[-1])
        self.from_code: nn.Module = nn.Identity()
        if not isinstance(config.quantizer, GumbelConfig):  # whose vectors are as wide as its latents
            self.from_code = nn.Linear(config.widths[-1], config.code_dim)
        self.decoder = DVAEDecoder(config)
        if not self.quantizer.needs_grid:
            self.context_positions = _context(config)
        _start(self)
        self.spec = ImageSpec.of(self.quantizer, stride=config.stride, value_range=(0.0, 1.0))

    def encode_latents(self, x: Tensor) -> Tensor:
        """Features `[B, C, h w]` of pictures `[B, 3, H, W]`; the quantizer maps them to logits."""
        return self.encoder(x).flatten(2)

    def statistics(self, z_q: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Locations and log-scales `[B, 6, H, W]` of the pixels' logits, of quantized latents `[B, D, h w]`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        code = self.from_code(z_q.transpose(1, 2)).transpose(1, 2)
        return self.decoder(code.unflatten(-1, (grid[0], grid[1])))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` in 0..1 of quantized latents `[B, D, h w]`; not clipped in training."""
        return self._pixels(self.statistics(z_q, grid))

    def _pixels(self, statistics: Tensor) -> Tensor:
        x = (statistics[:, :3].sigmoid() - MARGIN) / (1 - 2 * MARGIN)
        return x if self.training and torch.is_grad_enabled() else x.clamp(0, 1)

    def forward(self, x: Tensor) -> Reconstruction:
        """As `ImageTokenizer.forward`, with the decoder's `statistics [B, 6, H, W]` for the loss `logit_laplace`."""
        height, width = x.shape[-2:]
        x = pad_to_stride(x, self.size_multiple)
        grid, z = self.grid_of(x), self.encode_latents(x)
        quantized = self.quantizer(z, grid=grid)
        found = self.statistics(quantized.z_q, grid)[..., :height, :width]
        return Reconstruction(x_hat=self._pixels(found), z=z, quantized=quantized, features={"statistics": found})


@torch.no_grad()
def _start(tokenizer: DalleDVAE) -> None:
    """First weights as in the authors' code: deviation 1 over the root of the inputs, biases 0.

    Differs: the first layer takes an even grey to 0, so that an untrained network tells pictures apart.
    """
    for part in tokenizer.modules():
        if isinstance(part, nn.Conv2d) or part is getattr(tokenizer.quantizer, "scores", None):
            assert isinstance(part, (nn.Conv2d, nn.Linear))
            nn.init.normal_(part.weight, std=part.weight[0].numel() ** -0.5)
            assert part.bias is not None
            nn.init.zeros_(part.bias)
    stem = tokenizer.encoder.stem
    assert stem.bias is not None
    stem.bias.copy_(-stem.weight.sum((1, 2, 3)) / 2)


def _context(config: DalleDVAEConfig) -> int:
    """Grid positions on each side that an id or a pixel depends on: three 3x3 convolutions a block, a first one of 7x7, pooling."""
    pixels = 3 * config.blocks * (2**config.groups - 1) + 3
    return -(-pixels // config.stride) + 1
