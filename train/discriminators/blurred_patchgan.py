"""PatchGAN whose halvings are low-pass filters, with group norms, and one logit for each of a fixed grid of places.

Source: TiTok's second stage (arXiv 2406.07550; bytedance/1d-tokenizer @ 942a96fbdd, modeling/modules/discriminator.py), after the
discriminator of MaskBit (arXiv 2409.16211, section 3). Letters: B batch, C channels, H W pixels.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement
from ..losses.lengths import check_length
from .base import Discriminator, DiscriminatorConfig, pictures

_FILTER = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class BlurredPatchGanConfig(DiscriminatorConfig):
    """Settings of `BlurredPatchGan`.

    Attributes:
        channels: of the first layer, a multiple of 32; the first halving keeps them, the others double them.
        layers: halvings of the side.
        grid: side of the grid of logits: the strongest response in each of its places is judged.
    """

    kind: ClassVar[str] = "blurred_patchgan"
    channels: int = 128
    layers: int = 3
    grid: int = 16

    def __post_init__(self) -> None:
        if self.channels % 32 or self.layers < 1:
            raise ConfigError(
                f"blurred_patchgan.channels is {self.channels} and layers {self.layers}; the first must be a multiple of 32 (group "
                "norms), the second at least 1."
            )

    @property
    def least_samples(self) -> int:
        """Height and width of the smallest picture."""
        return 2**self.layers

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return BlurredPatchGan(self, pictures(self, spec).channels)


class BlurredPatchGan(Discriminator):
    """PatchGAN with blurred halvings of pictures `[B, C, H, W]`, one head with logits `[B, 1, grid, grid]`."""

    kernel: Tensor

    def __init__(self, config: BlurredPatchGanConfig, media_channels: int) -> None:
        super().__init__()
        self.config, c = config, config.channels
        row = torch.tensor(_FILTER)
        self.register_buffer("kernel", torch.outer(row, row) / row.sum() ** 2, persistent=False)
        self.entry = nn.Conv2d(media_channels, c, 5, padding=2)
        widths = [c, *(c * 2**i for i in range(config.layers))]
        pairs = list(itertools.pairwise(widths))
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(32, after) for _, after in pairs)
        self.mix = nn.Conv2d(widths[-1], widths[-1], 1)
        self.out = nn.Conv2d(widths[-1], 1, 5, padding=2)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge pictures `[B, C, H, W]`; ValueError for sides of less than `2 ** layers` pixels."""
        check_length("the discriminator 'blurred_patchgan'", min(x.shape[2:]), self.config.least_samples, "pixels")
        x = F.leaky_relu(self.entry(x), 0.1)
        features = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(self._halve(conv(x))), 0.1)
            features.append(x)
        x = F.leaky_relu(self.mix(F.adaptive_max_pool2d(x, self.config.grid)), 0.1)
        return [Judgement(self.out(x), tuple(features))]

    def _halve(self, x: Tensor) -> Tensor:
        """Blur maps `[B, c, H, W]` and keep every second pixel: ceil(H / 2), padded as TensorFlow's "same"."""
        pads = [max((-(-side // 2) - 1) * 2 + 4 - side, 0) for side in (x.shape[3], x.shape[2])]
        x = F.pad(x, [part for pad in pads for part in (pad // 2, pad - pad // 2)])
        return F.conv2d(x, self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1), stride=2, groups=x.shape[1])
