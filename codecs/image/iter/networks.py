"""ITER's networks: the encoder of degraded pictures, and the network over ids that evaluates or refines them.

Sizes and order of the layers: chaofengc/ITER @ 826bcaa3a3, basicsr/archs/iter_arch.py `LQEncoder`, demask_arch.py `SwinModel`.

Letters: B batch, H W pixels, h w grid, C channels, D width, V number of ids.
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.swin import SwinBlock, SwinConfig
from ...layers.vqgan_blocks import group_norm
from ...recomputable import Recomputable


@dataclass(frozen=True, kw_only=True)
class DegradedEncoderConfig:
    """Settings of `DegradedEncoder`.

    Attributes:
        scale: the picture is first reduced by this factor, a power of two: ITER's x2 and x4 models see pictures of half and a quarter
            of the size that is restored.
        stem_width: channels of the first convolution, doubled at every halving.
        blocks: residual blocks after each halving.
        swin: the attention over the grid.
    """

    scale: int = 1
    stem_width: int = 64
    blocks: int = 2
    swin: SwinConfig = SwinConfig(width=128, stacks=2)

    def __post_init__(self) -> None:
        if self.scale < 1 or self.scale & (self.scale - 1):
            raise ConfigError(f"encoder.scale is {self.scale}; allowed: 1, 2, 4, ...")


class DegradedEncoder(nn.Module):
    """Logits over V ids `[B, V, h, w]` of degraded pictures `[B, 3, H, W]` with values in -0.5..1.5 or so.

    Args:
        config: settings.
        stride: pixels of the restored picture from one position to the next.
        codes: V.
    """

    def __init__(self, config: DegradedEncoderConfig, *, stride: int, codes: int) -> None:
        super().__init__()
        halvings = int(math.log2(stride / config.scale)) if stride >= config.scale else -1
        if halvings < 0 or config.scale * 2**halvings != stride:
            raise ConfigError(f"encoder.scale is {config.scale} and the stride of the ids {stride}: their ratio must be 1, 2, 4, ...")
        widths = [config.stem_width * 2**i for i in range(halvings + 1)]
        self.scale = config.scale
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.halvings = nn.ModuleList(_Halving(a, b, config.blocks) for a, b in itertools.pairwise(widths))
        self.narrow = nn.Conv2d(widths[-1], config.swin.width, 1)
        self.attention = SwinBlock(config.swin.width, config.swin)
        self.head = nn.Conv2d(config.swin.width, codes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[B, V, h, w]`; h and w must be multiples of the window."""
        y = self.stem(F.avg_pool2d(x, self.scale) if self.scale > 1 else x)
        for halving in self.halvings:
            y = halving(y)
        return self.head(self.attention(self.narrow(y)))


class _Halving(nn.Module, Recomputable):
    """A convolution of stride 2 and residual blocks; `[B, C, H, W]` to `[B, C', H / 2, W / 2]`."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Residual(out_channels) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        y = self.down(x)
        for block in self.blocks:
            y = block(y)
        return y


class _Residual(nn.Module):
    """(GroupNorm, leaky ReLU, convolution) twice, plus the input; `[B, C, H, W]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(channels, narrow="quarter"), group_norm(channels, narrow="quarter")
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; the shape stays."""
        y = self.conv1(F.leaky_relu(self.norm1(x), 0.2))
        return x + self.conv2(F.leaky_relu(self.norm2(y), 0.2))


class TokenNetwork(nn.Module):
    """Two grids of ids to `[B, outputs, h, w]`: embeddings side by side, shifted-window attention, a head.

    Args:
        swin: the attention; its width is D.
        codes: V.
        outputs: channels of the output: 2 of the evaluation (wrong, right), V of the refinement.
        masks: whether positions may be masked; a mask is one more embedding.
    """

    def __init__(self, swin: SwinConfig, *, codes: int, outputs: int, masks: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(codes + masks, swin.width)
        self.combine = nn.Conv2d(2 * swin.width, swin.width, 1, bias=False)
        self.attention = SwinBlock(swin.width, swin)
        self.norm = group_norm(swin.width, narrow="quarter")
        self.head = nn.Conv2d(swin.width, outputs, 1)

    def embedded(self, ids: Tensor) -> Tensor:
        """Embeddings `[B, D, h, w]` of ids `[B, h, w]`."""
        return self.embed(ids).permute(0, 3, 1, 2)

    @property
    def mask(self) -> Tensor:
        """The embedding of a masked position, `[1, D, 1, 1]`."""
        return self.embed.weight[-1][None, :, None, None]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """`[B, outputs, h, w]` of two grids of embeddings `[B, D, h, w]`; h and w must be multiples of the window."""
        y = self.attention(self.combine(torch.cat([a, b], dim=1)))
        return self.head(F.silu(self.norm(y)))
