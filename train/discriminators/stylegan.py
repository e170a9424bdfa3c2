"""StyleGAN2's discriminator: residual blocks that halve the picture behind a low-pass filter, down to 4 x 4, and one logit.

Source: Karras et al. 2020 (arXiv 1912.04958, section 3.1 and appendix B: residual discriminator, deviation over the batch), with
equalised learning rates (Karras et al. 2018, arXiv 1710.10196); BSQ-ViT (arXiv 2406.07548; zhaoyue-zephyrus/bsq-vit @ 37d212d2b4,
transcoder/models/discriminator/stylegan.py) trains against it. Letters: B batch, C channels, H W pixels.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement
from .base import Discriminator, DiscriminatorConfig, pictures

_FILTER = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class StyleGanConfig(DiscriminatorConfig):
    """Settings of `StyleGan`.

    Attributes:
        image_size: side of the pictures in pixels, a power of two from 8 on; others are refused.
        channels: at a side of s pixels, `channels / s` of them, at most `most`.
        most: channels of the lowest sides.
        group: pictures whose deviation from each other is one more channel before the last layers; fewer if the batch is smaller.
    """

    kind: ClassVar[str] = "stylegan"
    image_size: int = 256
    channels: int = 32768
    most: int = 512
    group: int = 4

    def __post_init__(self) -> None:
        if self.image_size < 8 or self.image_size & (self.image_size - 1):
            raise ConfigError(f"stylegan.image_size is {self.image_size}; it must be a power of two from 8 on.")
        if self.group < 1 or self.width(self.image_size) < 1:
            raise ConfigError(f"stylegan.group is {self.group} and channels {self.channels}; there would be none of them.")

    @property
    def least_samples(self) -> int:
        """Height and width of a picture."""
        return self.image_size

    def width(self, side: int) -> int:
        """Channels of maps of this side."""
        return min(self.channels // side, self.most)

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return StyleGan(self, pictures(self, spec).channels)


class StyleGan(Discriminator):
    """StyleGAN2's residual discriminator of pictures `[B, C, S, S]`, one head with logits `[B, 1]`."""

    def __init__(self, config: StyleGanConfig, media_channels: int) -> None:
        super().__init__()
        self.config = config
        sides = [2**i for i in range(int(math.log2(config.image_size)), 2, -1)]  # S ... 8
        self.entry = Equalised(media_channels, config.width(sides[0]), 1)
        self.blocks = nn.ModuleList(Block(config.width(s), config.width(s // 2)) for s in sides)
        last = config.width(4)
        self.mix = Equalised(last + 1, last, 3)
        self.dense = Equalised(last * 16, last, 1)
        self.out = Equalised(last, 1, 1)

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge pictures `[B, C, S, S]`; ValueError if S is not `image_size`."""
        if x.shape[2:] != (self.config.image_size,) * 2:
            raise ValueError(
                f"the discriminator 'stylegan' judges pictures of {self.config.image_size} x {self.config.image_size} pixels, not "
                f"of {x.shape[2]} x {x.shape[3]}: set its image_size to data.crop."
            )
        x = _active(self.entry(x))
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        x = _active(self.mix(with_deviation(x.float(), self.config.group)))  # [B, c, 4, 4]
        x = _active(self.dense(x.flatten(1)[:, :, None, None]))
        return [Judgement(self.out(x).flatten(1), tuple(features))]


class Equalised(nn.Module):
    """A convolution whose weights are N(0, 1) and are divided by the root of their fan-in when used, so that all learn at one rate."""

    def __init__(self, before: int, after: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.scale, self.padding = 1 / math.sqrt(before * kernel**2), kernel // 2
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None

    def forward(self, x: Tensor, *, stride: int = 1, padding: int | None = None) -> Tensor:
        """Convolve maps `[B, C, H, W]`."""
        return F.conv2d(x, self.weight * self.scale, self.bias, stride, self.padding if padding is None else padding)


class Block(nn.Module):
    """Two convolutions, the second halving the side, beside a shortcut; both are blurred before they drop pixels."""

    kernel: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first, self.second = Equalised(before, before, 3), Equalised(before, after, 3)
        self.shortcut = Equalised(before, after, 1, bias=False)
        row = torch.tensor(_FILTER)
        self.register_buffer("kernel", torch.outer(row, row) / row.sum() ** 2, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, c, s, s]` -> `[B, c', s / 2, s / 2]`."""
        y = self.second(self._blur(_active(self.first(x)), 2), stride=2, padding=0)
        return (self.shortcut(self._blur(x, 1, stride=2)) + _active(y)) * math.sqrt(0.5)

    def _blur(self, x: Tensor, padding: int, stride: int = 1) -> Tensor:
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1])


def with_deviation(x: Tensor, group: int) -> Tensor:
    """Append to maps `[B, c, H, W]` one with the mean deviation over groups of pictures: reconstructions that are too alike show.

    Differs: StyleGAN2 asks for batches that divide into groups; here the largest group that does is taken.
    """
    b = len(x)
    size = next(g for g in range(min(group, b), 0, -1) if b % g == 0)
    groups = x.unflatten(0, (size, -1))  # [size, n, c, H, W]: item i belongs to group i modulo n
    deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # [n]
    return torch.cat([x, deviation.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)


def _active(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)
