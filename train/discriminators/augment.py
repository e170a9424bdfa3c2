"""Differentiable augmentation of the pictures that a discriminator judges, real and reconstructed ones alike.

Source: Zhao et al. 2020 (arXiv 2006.10738), with the sizes that StyleGAN-T, VAR and their followers use. Blur that fades while a strong
discriminator begins: StyleGAN-T (arXiv 2301.09515), in the form of UniTok (FoundationVision/UniTok @ bb8012e).
Letters: B batch, C channels, H W pixels.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...codecs.config import ConfigError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Blur, then three changes, each drawn for the batch, with other numbers for each picture.

    - shift by up to an eighth of the side, zeros coming in;
    - colour: brightness by up to half a unit, saturation by 0 to 2, contrast by 0.5 to 1.5;
    - a rectangle of zeros, `cutout` of the sides long, its middle anywhere.

    Attributes:
        probability: of each of the three; 0: off.
        cutout: 0: no rectangle.
        blur: width of a blur of all pictures, 0 to 1: it falls to a half at `blur * sqrt(H / 2)` pixels. It can move, and usually fades
            to 0: `discriminators.NAME.augment.blur: {first: 1.0, last: 0.0, begin: ..., end: ...}`.
    """

    moving: ClassVar[tuple[str, ...]] = ("blur",)
    probability: float = 0.0
    cutout: float = 0.2
    blur: float = 0.0

    def __post_init__(self) -> None:
        if self.probability > 1 or self.cutout > 1:
            raise ConfigError(f"probability is {self.probability} and cutout {self.cutout}; neither may be above 1.")
        if not 0 <= self.blur <= 1:
            raise ConfigError(f"blur is {self.blur}; it lies in 0 to 1.")


def augment(config: AugmentConfig, x: Tensor) -> Tensor:
    """Draw and apply the changes to pictures `[B, C, H, W]`, values -1..1. Random numbers come from torch's generator of the CPU."""
    x = blurred(x, config.blur)
    if not config.probability:
        return x
    shifted, coloured, cut = (torch.rand(3) <= config.probability).tolist()
    draws = torch.rand(7, len(x))  # of the CPU, so that a run on any device draws the same
    x = x.float()
    if shifted:
        x = shift(x, *(_whole(draw, round(side / 8)) for draw, side in zip(draws[:2], x.shape[2:], strict=True)))
    if coloured:
        x = colour(x, *draws[2:5])
    if cut and config.cutout:
        x = x * holes(draws[5], draws[6], config.cutout, x.shape[2], x.shape[3]).to(x.device)
    return x


def blurred(x: Tensor, share: float) -> Tensor:
    """Pictures `[B, C, H, W]` under the kernel 2^-(d / s)^2, s = `share` sqrt(H / 2), up to d = 3 s; edges are mirrored."""
    width = share * (x.shape[2] / 2) ** 0.5
    radius = int(width * 3)
    if radius < 1:
        return x
    kernel = (-(torch.arange(-radius, radius + 1, device=x.device, dtype=torch.float32) / width).square()).exp2()
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.pad(x.float(), (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel, groups=x.shape[1]), kernel.transpose(2, 3), groups=x.shape[1])


def _whole(draw: Tensor, most: int) -> Tensor:
    """Whole numbers -most..most, equally likely, from numbers in 0..1."""
    return (draw * (2 * most + 1)).floor().long() - most


def shift(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each picture is read `down` rows and `right` columns further on; zeros beyond its edges. `down`, `right`: `[B]`."""
    b, _, h, w = x.shape
    rows, columns = torch.arange(h) + down[:, None], torch.arange(w) + right[:, None]  # [B, H], [B, W]
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None]  # [B, H, W]
    rows, columns = rows.clamp(0, h - 1).to(x.device), columns.clamp(0, w - 1).to(x.device)
    items = torch.arange(b, device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[items, rows[:, :, None], columns[:, None]]  # [B, H, W, C]
    return moved.permute(0, 3, 1, 2) * inside[:, None].to(x.device, x.dtype)


def colour(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Change the colours by numbers in 0..1, each `[B]`; at 0.5 nothing changes."""
    brightness, saturation, contrast = (v.to(x.device)[:, None, None, None] for v in (brightness, saturation, contrast))
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * 2 * saturation
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def holes(down: Tensor, right: Tensor, share: float, height: int, width: int) -> Tensor:
    """Masks `[B, 1, H, W]` of ones with one rectangle of zeros, `share` of the sides long; its middle is at numbers in 0..1, `[B]`."""
    ranges = []
    for draw, side in ((down, height), (right, width)):
        length = round(side * share)
        first = (draw * (side + 1 - length % 2)).floor().long()[:, None] - length // 2
        at = torch.arange(side)
        ranges.append((at >= first) & (at < first + length))
    return (~(ranges[0][:, :, None] & ranges[1][:, None])).float()[:, None]
