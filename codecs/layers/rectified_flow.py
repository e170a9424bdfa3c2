"""Rectified flow: noised latents x_t = t noise + (1 - t) x, velocity noise - x, integrated from t = 1 down to 0 (FlexTok, COMiT).

Liu et al. 2022, arXiv 2209.03003; time distribution: Esser et al. 2024 (SD3), arXiv 2403.03206; normalised guidance (APG):
Sadat et al. 2024, arXiv 2410.02416.

Letters: B batch, C H W of the latents.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widened
from .draws import same_draws

#: Maps (x_t `[B, C, H, W]`, t `[B]`) to a velocity `[B, C, H, W]`.
Velocity = Callable[[Tensor, Tensor], Tensor]


class TimeEmbedding(nn.Module):
    """Times `[B]` in 0..`longest` to vectors `[B, D]`: cosines and sines, then two linear maps.

    Args:
        width: D.
        frequencies: number of cosines and sines together.
        longest: the largest time; the highest frequency is 1000 / longest.
        spread: the frequencies fall geometrically from the highest one towards its `spread`-th part. DiT: 10,000.
    """

    def __init__(self, width: int, *, frequencies: int = 256, longest: float = 1.0, spread: float = 256.0) -> None:
        super().__init__()
        self.frequencies, self.longest, self.spread = frequencies, longest, spread
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Embed times `[B]` as vectors `[B, D]`."""
        half = self.frequencies // 2
        steps = torch.arange(half, dtype=torch.float32, device=t.device)
        angles = t[:, None].float() * (1000.0 / self.longest * torch.exp(-math.log(self.spread) * steps / half))
        table = F.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, self.frequencies % 2))
        return self.mlp(table.to(cast(nn.Linear, self.mlp[0]).weight.dtype))


def sample_times(
    batch: int,
    *,
    kind: Literal["logit_normal", "uniform"] = "logit_normal",
    stratified: bool = False,
    mode_scale: float = 0.0,
    device: torch.device | None = None,
) -> Tensor:
    """Draw training times `[B]` in 0..1.

    Args:
        batch: B.
        kind: sigmoid of a normal, or uniform.
        stratified: one normal from each of B equal parts of its distribution.
        mode_scale: with "uniform", how strongly times concentrate in the middle (SD3, section 3.1); 0: not at all.
    """
    if kind == "logit_normal" and stratified:
        u = torch.linspace(0, 1, batch + 1, device=device)[:-1] + torch.rand(batch, device=device) / batch
        return torch.sigmoid(torch.erfinv(2 * u - 1) * math.sqrt(2))
    if kind == "logit_normal":
        return torch.sigmoid(torch.randn(batch, device=device))
    t = torch.rand(batch, device=device)
    return 1 - t - mode_scale * (torch.cos(math.pi * t / 2) ** 2 - 1 + t) if mode_scale else t


class FlowStep(NamedTuple):
    """One point of the flow to train on.

    Attributes:
        x: noised latents `[B, C, H, W]`.
        t: times `[B]`.
        target: true velocity `[B, C, H, W]`.
    """

    x: Tensor
    t: Tensor
    target: Tensor

    def estimate(self, velocity: Tensor) -> Tensor:
        """Latents `[B, C, H, W]` that one step of size t with this velocity ends at."""
        return self.x - _over_latents(self.t, self.x) * velocity


def draw_step(
    clean: Tensor,
    *,
    kind: Literal["logit_normal", "uniform"] = "logit_normal",
    stratified: bool = False,
    mode_scale: float = 0.0,
    fixed: bool = False,
) -> FlowStep:
    """Draw a time and noise for each of the latents `[B, C, H, W]`; settings as in `sample_times`, `fixed`: always the same draw."""
    with same_draws(clean.device, active=fixed):
        t = sample_times(len(clean), kind=kind, stratified=stratified, mode_scale=mode_scale, device=clean.device)
        noise = torch.randn_like(clean)
    share = _over_latents(t, clean)
    return FlowStep(share * noise + (1 - share) * clean, t, noise - clean)


def _over_latents(t: Tensor, x: Tensor) -> Tensor:
    """Times `[B]` as `[B, 1, 1, 1]`, in the type of `x`."""
    return t[:, None, None, None].to(x.dtype)


def integrate(
    noise: Tensor,
    velocity: Velocity,
    *,
    steps: int,
    unconditional: Velocity | None = None,
    guidance: float | Callable[[float], float] = 1.0,
    normalized: bool = False,
) -> Tensor:
    """Euler's method from `noise` at t = 1 to t = 0.

    Args:
        noise: `[B, C, H, W]`.
        velocity: the conditional model, called in the type of `noise`; everything between the calls is float32.
        steps: number of Euler steps, all of equal size.
        unconditional: the model without a condition; called only where guidance is not 1.
        guidance: weight of the condition, also as a function of t; 1: no guidance.
        normalized: APG in place of classifier-free guidance: momentum -0.5, norm at most 2.5, and only the part of the
            update orthogonal to the conditional velocity.
    """
    x, dtype = widened(noise), noise.dtype
    average = torch.zeros_like(x)
    for i in range(steps, 0, -1):
        t = torch.full((len(x),), i / steps, device=x.device, dtype=torch.float32)
        v = velocity(x.to(dtype), t).to(x.dtype)
        if callable(guidance) or guidance != 1.0:
            if unconditional is None:
                raise ValueError("guidance needs an unconditional model too; pass `unconditional`, or guidance 1.")
            weight = cast(float, guidance(i / steps) if callable(guidance) else guidance)
            v_free = unconditional(x.to(dtype), t).to(x.dtype)
            if normalized:
                average = (v - v_free) - 0.5 * average
                v = v + (weight - 1) * _orthogonal(_shorten(average, 2.5), v)
            else:
                v = v_free + weight * (v - v_free)
        x = x - v / steps
    return x.to(dtype)


def _shorten(x: Tensor, limit: float) -> Tensor:
    """Scale each item of `[B, ...]` down to a norm of at most `limit`."""
    return x * (limit / x.flatten(1).norm(dim=1)).clamp(max=1)[:, None, None, None]


def _orthogonal(x: Tensor, direction: Tensor) -> Tensor:
    """The component of each item of `x` orthogonal to that of `direction`, both `[B, ...]`."""
    a, b = x.double(), F.normalize(direction.double().flatten(1), dim=1).view_as(direction)
    return (a - (a * b).sum(dim=(1, 2, 3), keepdim=True) * b).to(x.dtype)
