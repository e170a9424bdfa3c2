"""Diffusion in discrete times: noise schedules, and the steps of DDIM and DDPM back to a picture.

x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, t = 0 .. T - 1. DDPM: Ho et al. 2020 (arXiv 2006.11239); DDIM: Song et al. 2020
(arXiv 2010.02502); cosine schedule: Nichol and Dhariwal 2021 (arXiv 2102.09672); velocity: Salimans and Ho 2022 (arXiv
2202.00512); no signal at the last time, trailing times: Lin et al. 2023 (arXiv 2305.08891); shifted cosine: Hoogeboom et al.
2023 (arXiv 2301.11093). diffusers' schedulers do the same where the number of steps divides T; otherwise 4M's schedulers take
strides of T // steps, as here.

Letters: B batch, C H W of the pictures, T times.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...config import ConfigError
from ...precision import widened


@dataclass(frozen=True, kw_only=True)
class NoiseScheduleConfig:
    """Settings of `Schedule`.

    Attributes:
        times: T, number of discrete times.
        betas: how the noise grows: "linear", "scaled_linear" and "sigmoid" from 1e-4 to 0.02, the others along a cosine.
        shift: factor on the noise-to-signal ratio, for "shifted_cosine".
        zero_terminal_snr: rescale the schedule so that no signal is left at the last time (the shifted cosine leaves none anyway).
        prediction: the network's output: the picture, the noise, or the velocity sqrt(a) noise - sqrt(1 - a) picture.
        clip: clip estimates of the picture to -1..1 at every step.
        sampler: "ddim" is a function of the start; "ddpm" draws new noise at every step.
    """

    times: int = 1000
    betas: Literal["linear", "scaled_linear", "cosine", "sigmoid", "shifted_cosine"] = "linear"
    shift: float = 1.0
    zero_terminal_snr: bool = True
    prediction: Literal["sample", "epsilon", "velocity"] = "sample"
    clip: bool = False
    sampler: Literal["ddim", "ddpm"] = "ddim"

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ConfigError(f"times is {self.times}; give a number from 1.")
        if self.shift <= 0:
            raise ConfigError(f"shift is {self.shift}; it is a positive factor.")


class Schedule:
    """Noise schedule: the share of the signal at every time, training targets, and sampling."""

    def __init__(self, config: NoiseScheduleConfig) -> None:
        self.config = config
        self.alphas = _alphas(config)  # a_t, [T]

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t of pictures `[B, C, H, W]` at times `[B]`, and the network's target for it, both `[B, C, H, W]`."""
        a = self.alphas.to(x.dtype).to(x.device, non_blocking=True)[t][:, None, None, None]
        signal, rest = a.sqrt(), (1 - a).sqrt()
        target = {"sample": x, "epsilon": noise, "velocity": signal * noise - rest * x}[self.config.prediction]
        return signal * x + rest * noise, target

    def estimate(self, x_t: Tensor, output: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Picture and noise estimates, both `[B, C, H, W]`, from the network's `output` for `x_t` at times `[B]` or at one time."""
        a = self.alphas.to(x_t.dtype).to(x_t.device, non_blocking=True)[t].view(-1, 1, 1, 1)
        signal, rest = a.sqrt(), (1 - a).sqrt()
        if self.config.prediction == "sample":
            clean, noise = output, (x_t - signal * output) / rest
        elif self.config.prediction == "epsilon":
            clean, noise = (x_t - rest * output) / signal.clamp(min=1e-8), output  # no signal is left at the last time
        else:
            clean, noise = signal * x_t - rest * output, signal * output + rest * x_t
        return (clean.clamp(-1, 1) if self.config.clip else clean), noise

    def steps(self, count: int) -> list[int]:
        """Times of about `count` steps, from high to low: DDIM begins at the last time, DDPM ends at the first.

        Raises:
            ValueError: `count` is not in 1..T.
        """
        total = self.config.times
        if not 1 <= count <= total:
            raise ValueError(f"steps is {count}; allowed: 1 to {total}.")
        if self.config.sampler == "ddim":
            return list(range(total - 1, -1, -(total // count)))
        return [i * (total // count) for i in reversed(range(count))]

    def sample(self, noise: Tensor, network: Callable[[Tensor, Tensor], Tensor], *, steps: int, generator: torch.Generator) -> Tensor:
        """Draw pictures `[B, C, H, W]` from noise.

        Args:
            noise: start `[B, C, H, W]`.
            network: its output for x_t and times `[B]`, both in the type of `noise`; everything between the calls is float32.
            steps: number of steps, 1 to T; see the method `steps`.
            generator: source of the noise that DDPM adds, one draw for all items.
        """
        x, stride = widened(noise), self.config.times // steps
        for t in self.steps(steps):
            at = torch.full((len(x),), t, device=x.device)
            clean, rest = self.estimate(x, network(x.to(noise.dtype), at).to(x.dtype), at)
            if self.config.sampler == "ddim":
                before = self._alpha(t - stride)
                x = before.sqrt().to(x.dtype) * clean + (1 - before).sqrt().to(x.dtype) * rest
            else:
                x = self._ddpm(x, clean, t, t - stride, generator)
        return x.to(noise.dtype)

    def _ddpm(self, x: Tensor, clean: Tensor, t: int, previous: int, generator: torch.Generator) -> Tensor:
        now, before = self._alpha(t), self._alpha(previous)
        kept = now / before
        shares = before.sqrt() * (1 - kept) / (1 - now), kept.sqrt() * (1 - before) / (1 - now)
        mean = shares[0].to(x.dtype) * clean + shares[1].to(x.dtype) * x
        if t == 0:
            return mean
        variance = ((1 - before) / (1 - now) * (1 - kept)).clamp(min=1e-20)
        noise = torch.randn(x.shape[1:], generator=generator, dtype=torch.float32).to(x.dtype).to(x.device, non_blocking=True)
        return mean + variance.sqrt().to(x.dtype) * noise

    def _alpha(self, t: int) -> Tensor:
        """a_t; 1 before the first time."""
        return self.alphas[t] if t >= 0 else torch.ones_like(self.alphas[0])


def time_waves(t: Tensor, width: int) -> Tensor:
    """Times `[B]` as cosines, then sines `[B, width]`, of rates from 1 down to 1 / 10000."""
    half = width // 2
    rate = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half).to(t.device, non_blocking=True)
    angles = t[:, None].float() * rate
    return torch.nn.functional.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, width % 2))


def _alphas(c: NoiseScheduleConfig) -> Tensor:
    if c.betas == "shifted_cosine":
        at = torch.linspace(0, 1, c.times).double()
        ratio = -2 * ((math.pi * at / 2).tan().log() + math.log(c.shift))
        alphas = ratio.clamp(-15, 15).float().sigmoid()
        alphas[-1] = 0.0
        return alphas
    betas = _betas(c)
    if c.zero_terminal_snr:
        betas = _without_last_signal(betas)
    return (1 - betas).cumprod(0)


def _betas(c: NoiseScheduleConfig) -> Tensor:
    low, high = 1e-4, 0.02
    if c.betas == "linear":
        return torch.linspace(low, high, c.times)
    if c.betas == "scaled_linear":
        return torch.linspace(low**0.5, high**0.5, c.times) ** 2
    if c.betas == "sigmoid":
        return torch.linspace(-6, 6, c.times).sigmoid() * (high - low) + low
    kept = [math.cos((i / c.times + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(c.times + 1)]
    return torch.tensor([min(1 - kept[i + 1] / kept[i], 0.999) for i in range(c.times)])


def _without_last_signal(betas: Tensor) -> Tensor:
    """Betas whose sqrt(a) is shifted to 0 at the last time and stretched to its old value at the first (algorithm 1)."""
    root = (1 - betas).cumprod(0).sqrt()
    kept = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    return 1 - torch.cat([kept[:1], kept[1:] / kept[:-1]])
