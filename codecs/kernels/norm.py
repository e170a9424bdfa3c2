"""GroupNorm as a gain and a shift for each channel, computed from statistics of the input or, for pieces, of a whole picture.

On a CPU, convolutions are fastest in channels-last memory, where PyTorch's GroupNorm adds up squares in float32 and loses
digits (WeTok's pixels were off by 2e-4 instead of 3e-6). Here the mean is subtracted before values are squared.

Letters: B batch, C channels, H W positions, G groups.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from ..threads import on_threads
from .mode import Layer2d, cpu_inference

_HELD = 1 << 18  # number of deviations in memory at once: 1 MB

#: Function from the input `x [B, C, H, W]` of a norm to the mean and the variance of each channel, `[B, C]`, to normalise with.
Statistics = Callable[[Tensor], tuple[Tensor, Tensor]]

_source: ContextVar[Statistics | None] = ContextVar("statistics", default=None)


@contextmanager
def statistics_from(source: Statistics) -> Iterator[None]:
    """Every `GroupNorm` called inside the block gets its statistics from `source` instead of its input; see `tiles.py`."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel, float64 `[B, C]`, of `x [B, C, H, W]`; no copy of channels-last memory is made."""
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # [B, H W, C]
    mean = rows.mean(dim=1, keepdim=True, dtype=torch.float32)
    own = threading.local()

    def squares(part: Tensor) -> Tensor:
        if not hasattr(own, "deviations"):
            own.deviations = torch.empty_like(parts[0], dtype=torch.float32)
        return torch.sub(part, mean, out=own.deviations[:, : part.shape[1]]).square_().sum(dim=1)  # [B, C]

    parts = rows.split(max(1, _HELD // (rows.shape[0] * rows.shape[2])), dim=1)
    # Compilers follow a plain loop only, and one part alone is worth all threads.
    alone = len(parts) < 2 or not cpu_inference(x) or torch.compiler.is_compiling()
    sums = [squares(part) for part in parts] if alone else on_threads(lambda: squares, parts)
    total = torch.zeros_like(mean[:, 0], dtype=torch.float64)
    for part in sums:
        total += part
    return mean[:, 0].double(), total / rows.shape[1]


class GroupNorm(nn.GroupNorm, Layer2d):
    """`nn.GroupNorm` for `[B, C, H, W]`, accurate in channels-last memory too."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`; the shape stays."""
        return self.normalise(x)

    def normalise(self, x: Tensor, *, out: Tensor | None = None) -> Tensor:
        """As `forward`; without gradients on a CPU the result may be written to `out`, which may be `x` itself."""
        plain = not cpu_inference(x) or not x.is_contiguous(memory_format=torch.channels_last) or torch.compiler.is_compiling()
        if plain and _source.get() is None:
            return super().forward(x)
        gain, shift = (v.to(x.dtype)[..., None, None] for v in self.gain_shift(x))
        return torch.addcmul(shift, x, gain, out=out if cpu_inference(x) else None)

    def gain_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and shift, float32 `[B, C]`, with which `x * gain + shift` is the norm of `x`."""
        # [B, G, C / G]
        mean, variance = (m.unflatten(1, (self.num_groups, -1)) for m in (_source.get() or channel_moments)(x))
        middle = mean.mean(dim=2, keepdim=True)
        variance = variance.mean(dim=2, keepdim=True) + (mean - middle).square().mean(dim=2, keepdim=True)  # [B, G, 1]
        gain = (variance + self.eps).rsqrt().expand_as(mean).flatten(1)  # [B, C]
        gain = gain if self.weight is None else gain * self.weight
        shift = -middle.expand_as(mean).flatten(1) * gain
        return gain.float(), (shift if self.bias is None else shift + self.bias).float()
