"""Degradations of pictures: a clean crop as a poor camera, a small copy and a lossy file would have left it.

One pass of blur, loss of size, noise and JPEG, in this order, then back to the crop's own size. Ranges after the first pass of
Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833, and the training options of xinntao/Real-ESRGAN): blur of 0.2 to 3 pixels in kernels of
7 to 21, Gaussian noise of 1 to 30 grey values or Poisson noise of scale 0.05 to 3, the same in all channels in 40 % of cases, JPEG of
quality 30 to 95, filters "area", "bilinear" and "bicubic".

Differs: its second pass, its sinc, generalized and plateau kernels, and enlargement in between are left out; a kernel is isotropic in
60 % of cases; sizes are divided by a whole number. BSRGAN's shuffled order (chaofengc/ITER) is left out too.

Everything is drawn from the random numbers of the crop, a function of seed and position, so a resumed run repeats it.
Letters: C channels, H W pixels, k side of a kernel.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...codecs.config import ConfigError


@dataclass(frozen=True, kw_only=True)
class DegradeConfig:
    """What happens to a crop. Each share is the probability that a step is taken; 0 leaves it out.

    Attributes:
        share: of the crops that are degraded at all; the others stay clean.
        blur: share of the crops that are blurred.
        isotropic: of these, the share whose kernel is round; others have two deviations and an angle.
        sigma: smallest and largest deviation of a kernel in pixels.
        kernel: smallest and largest side of a kernel, odd numbers of pixels.
        down: height and width are divided by one of these, drawn at random, by a filter drawn at random.
        noise: share of the crops that get noise.
        gaussian: of these, the share whose noise is Gaussian; the others get Poisson noise.
        deviation: smallest and largest deviation of Gaussian noise, for white of 255.
        poisson: smallest and largest factor of Poisson noise; at 1, a value of 255 is the count of 255 events.
        grey: share of the noise that is the same in all channels.
        jpeg: share of the crops that are compressed.
        quality: lowest and highest quality of the JPEG file, 1 to 100.
    """

    share: float = 1.0
    blur: float = 1.0
    isotropic: float = 0.6
    sigma: tuple[float, float] = (0.2, 3.0)
    kernel: tuple[int, int] = (7, 21)
    down: tuple[int, ...] = (1, 2, 4)
    noise: float = 1.0
    gaussian: float = 0.5
    deviation: tuple[float, float] = (1.0, 30.0)
    poisson: tuple[float, float] = (0.05, 3.0)
    grey: float = 0.4
    jpeg: float = 1.0
    quality: tuple[int, int] = (30, 95)

    def __post_init__(self) -> None:
        for name in ("share", "blur", "isotropic", "noise", "gaussian", "grey", "jpeg"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"data.degrade.{name} is {getattr(self, name)}; it is a probability from 0 to 1.")
        least = {"sigma": 1e-3, "kernel": 1, "deviation": 0, "poisson": 0, "quality": 1}
        for name, low in least.items():
            a, b = getattr(self, name)
            if not low <= a <= b or (name == "quality" and b > 100):
                most = " <= 100" if name == "quality" else ""
                raise ConfigError(f"data.degrade.{name} is {[a, b]}; need {low:g} <= lowest <= highest{most}.")
        if not all(k % 2 for k in self.kernel):
            raise ConfigError(f"data.degrade.kernel is {list(self.kernel)}; sides of kernels are odd.")
        if not self.down or min(self.down) < 1:
            raise ConfigError(f"data.degrade.down is {list(self.down)}; list factors of at least 1.")


def degraded(x: Tensor, config: DegradeConfig, rng: np.random.Generator, value_range: tuple[float, float]) -> Tensor:
    """Return a degraded copy of a crop.

    Args:
        x: float32 `[C, H, W]` in `value_range`, C 1 or 3.
        config: what happens to it.
        rng: the only source of randomness. Every step takes its numbers whether it is used or not.
        value_range: of the pixels, before and after.
    """
    low, high = value_range
    y = (x - low) / (high - low)
    steps: list[Callable[[Tensor, DegradeConfig, np.random.Generator], Tensor]] = [_blurred, _smaller, _noisy, _compressed]
    used = rng.random() < config.share
    streams = rng.spawn(len(steps))  # so that one step's settings do not change what another draws
    if not used:
        return x.clone()
    for step, own in zip(steps, streams, strict=True):
        y = step(y, config, own)
    if y.shape != x.shape:
        y = F.interpolate(y[None], x.shape[-2:], mode="bicubic", align_corners=False)[0]
    return y.clamp(0, 1) * (high - low) + low


def _blurred(y: Tensor, c: DegradeConfig, rng: np.random.Generator) -> Tensor:
    if rng.random() >= c.blur:
        return y
    round_one = rng.random() < c.isotropic
    a, b = rng.uniform(*c.sigma, size=2)
    angle = rng.uniform(0, np.pi)
    side = 2 * int(rng.integers(c.kernel[0] // 2, c.kernel[1] // 2 + 1)) + 1
    kernel = gaussian_kernel(side, a, a if round_one else b, angle)
    half = min(side // 2, min(y.shape[-2:]) - 1)  # small crops: their edges cannot be mirrored further
    kernel = kernel[side // 2 - half : side // 2 + half + 1, side // 2 - half : side // 2 + half + 1]
    weight = torch.from_numpy((kernel / kernel.sum()).astype(np.float32))[None, None]
    return F.conv2d(F.pad(y[:, None], (half,) * 4, mode="reflect"), weight)[:, 0]


def gaussian_kernel(side: int, a: float, b: float, angle: float) -> np.ndarray:
    """A Gaussian `[k, k]` with deviations `a` and `b` in pixels along axes that are turned by `angle`; its sum is 1."""
    place = np.arange(side) - side // 2
    x, y = np.meshgrid(place, place)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / a) ** 2 + (across / b) ** 2))
    return kernel / kernel.sum()


def _smaller(y: Tensor, c: DegradeConfig, rng: np.random.Generator) -> Tensor:
    factor = c.down[int(rng.integers(len(c.down)))]
    kind = ("area", "bilinear", "bicubic")[int(rng.integers(3))]
    if factor == 1:
        return y
    size = [max(1, n // factor) for n in y.shape[-2:]]
    smooth = {} if kind == "area" else {"align_corners": False, "antialias": True}
    return F.interpolate(y[None], size, mode=kind, **smooth)[0].clamp(0, 1)


def _noisy(y: Tensor, c: DegradeConfig, rng: np.random.Generator) -> Tensor:
    if rng.random() >= c.noise:
        return y
    gaussian, grey = rng.random() < c.gaussian, rng.random() < c.grey
    deviation, factor = rng.uniform(*c.deviation) / 255, rng.uniform(*c.poisson)
    pixels = y.numpy().astype(np.float64)
    source = pixels.mean(0, keepdims=True) if grey else pixels
    if gaussian:
        noise = rng.normal(0, deviation, size=source.shape)
    else:
        events = 255 * source.clip(0, 1)
        noise = factor * (rng.poisson(events) - events) / 255
    return torch.from_numpy((pixels + noise).clip(0, 1).astype(np.float32))


def _compressed(y: Tensor, c: DegradeConfig, rng: np.random.Generator) -> Tensor:
    if rng.random() >= c.jpeg:
        return y
    quality = int(rng.integers(c.quality[0], c.quality[1] + 1))
    pixels = (y * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()  # [H, W, C]
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if y.shape[0] == 1 else pixels).save(file, format="JPEG", quality=quality)
    again = np.asarray(Image.open(file), dtype=np.float32) / 255  # [H, W(, 3)]
    return torch.from_numpy(again).view(*pixels.shape).permute(2, 0, 1).contiguous()
