"""PatchGAN: a stack of strided convolutions, each logit of which classifies one of overlapping patches of a picture.

Source: pix2pix (Isola et al. 2017, arXiv 1611.07004, section 6.1.2), as VQGAN and LlamaGen use it: 4x4
kernels, `layers` convolutions of stride 2, one of stride 1, one to a single channel; with three layers a logit's receptive field is
70x70 pixels.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement
from ..losses.lengths import check_length
from .base import Discriminator, DiscriminatorConfig, pictures


@dataclass(frozen=True, kw_only=True)
class PatchGanConfig(DiscriminatorConfig):
    """Settings of `PatchGan`.

    Attributes:
        channels: after the first layer; doubled at each, up to 8 times.
        layers: convolutions of stride 2.
        norm: between layers: "batch" as in the sources; "group" does not depend on the rest of the batch; "none".
    """

    kind: ClassVar[str] = "patchgan"
    channels: int = 64
    layers: int = 3
    norm: Literal["batch", "group", "none"] = "batch"

    @property
    def least_samples(self) -> int:
        """Height and width of the smallest picture."""
        return 3 * 2**self.layers  # the last two layers take 3 pixels of the map that is left

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return PatchGan(self, pictures(self, spec).channels)


class PatchGan(Discriminator):
    """PatchGAN discriminator of pictures `[B, C, H, W]`, one head with logits `[B, 1, h, w]`."""

    def __init__(self, config: PatchGanConfig, media_channels: int) -> None:
        super().__init__()
        self.least_samples = config.least_samples
        widths = [config.channels * min(2**i, 8) for i in range(config.layers + 1)]
        first = nn.Conv2d(media_channels, widths[0], 4, stride=2, padding=1)
        blocks = [nn.Sequential(first, nn.LeakyReLU(0.2))]
        for i in range(1, config.layers + 1):
            stride = 2 if i < config.layers else 1
            conv = nn.Conv2d(widths[i - 1], widths[i], 4, stride=stride, padding=1, bias=config.norm == "none")
            blocks.append(nn.Sequential(conv, _norm(config.norm, widths[i]), nn.LeakyReLU(0.2)))
        self.blocks = nn.ModuleList(blocks)
        self.out = nn.Conv2d(widths[-1], 1, 4, padding=1)
        self.apply(_small_random)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge pictures `[B, C, H, W]`; ValueError unless H and W are at least `3 * 2 ** layers`."""
        check_length("the discriminator 'patchgan'", min(x.shape[2:]), self.least_samples, "pixels")
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return [Judgement(self.out(x), tuple(features))]


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(min(32, channels), channels)
    return nn.Identity()


def _small_random(module: nn.Module) -> None:
    """Start as pix2pix does: weights from N(0, 0.02), scales from N(1, 0.02)."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
