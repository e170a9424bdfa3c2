"""Focal modulation over frames (Yang et al. 2022, arXiv 2203.11926), in one dimension as FocalCodec has it.

A query is multiplied by a context that depthwise convolutions of growing kernels gather; the last level is the mean
over all frames or, when causal, one more convolution over a long window of the past.

Letters: B batch, D width, L frames.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.causal import Conv1d, State, Streaming
from ...recomputable import Recomputable


@dataclass(frozen=True, kw_only=True)
class FocalConfig:
    """Settings of `FocalBlock`.

    Attributes:
        kernel_size: kernel size of the first depthwise convolution.
        kernel_step: difference of kernel size from one depthwise convolution to the next.
        levels: number of convolutions before the last, global level.
        norm_after: norms follow the branches, with one more inside the modulation, instead of preceding them.
        layer_scale: initial value of the learned factor of each branch; None: no factors.
        average: divide the context by the number of levels.
        causal: no layer looks ahead; norms are then `tanh(a x)`, which needs no statistics.
        tanh_scale: initial value of `a`.
    """

    kernel_size: int = 14
    kernel_step: int = 4
    levels: int = 2
    norm_after: bool = False
    layer_scale: float | None = None
    average: bool = False
    causal: bool = False
    tanh_scale: float = 0.5


class DynamicTanh(nn.Module):
    """`tanh(a x)` with one learned `a`, in place of a norm (Zhu et al. 2025, arXiv 2503.10622)."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Return `tanh(a x)`, of the shape of `x`."""
        return torch.tanh(self.alpha * x)


def _norm(width: int, config: FocalConfig) -> nn.Module:
    return DynamicTanh(config.tanh_scale) if config.causal else nn.LayerNorm(width)


def _depthwise(width: int, kernel_size: int, causal: bool) -> nn.Module:
    if causal:
        return Conv1d(width, width, kernel_size, groups=width, causal=True, edge="replicate")
    return _SameLength(width, width, kernel_size, groups=width)


class _SameLength(nn.Conv1d):
    """A convolution `[B, C, L] -> [B, C, L]` padded with zeros, an even kernel more on the right.

    `Conv1d` of this library pads more on the left; exported graphs misread PyTorch's `padding="same"` of an even kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        left = (self.kernel_size[0] - 1) // 2
        return super().forward(F.pad(x, (left, self.kernel_size[0] - 1 - left)))


class FocalModulation(Streaming):
    """Focal modulation of `[B, L, D]`, which keeps the shape; see the module's docstring."""

    def __init__(self, width: int, window: int, config: FocalConfig) -> None:
        super().__init__()
        c = config
        self.width, self.levels, self.average, self.causal = width, c.levels, c.average, c.causal
        self.proj = nn.Linear(width, 2 * width + c.levels + 1)
        kernels = [c.kernel_size + c.kernel_step * k for k in range(c.levels)] + ([window] if c.causal else [])
        self.convs = nn.ModuleList(_depthwise(width, k, c.causal) for k in kernels)
        self.context = nn.Conv1d(width, width, 1)
        self.norm = _norm(width, c) if c.norm_after else nn.Identity()
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Modulate: `[B, L, D]` to the same shape."""
        query, context, gates = self.proj(x).transpose(1, 2).split([self.width, self.width, self.levels + 1], dim=1)
        total = torch.zeros_like(context)
        for i, conv in enumerate(self.convs):
            context = F.gelu(conv(context, state) if self.causal else conv(context))
            total = total + context * gates[:, i : i + 1]
        if not self.causal:
            total = total + F.gelu(context.mean(dim=-1))[..., None] * gates[:, self.levels :]
        if self.average:
            total = total / (self.levels + 1)
        return self.out(self.norm((query * self.context(total)).transpose(1, 2)))


class FocalBlock(Streaming, Recomputable):
    """Focal modulation, then an MLP with hidden width 4 D, each added to its input; `[B, L, D]`."""

    def __init__(self, width: int, window: int, config: FocalConfig) -> None:
        super().__init__()
        self.norm_after = config.norm_after
        self.norm_modulation = _norm(width, config)
        self.modulation = FocalModulation(width, window, config)
        self.norm_feed_forward = _norm(width, config)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        start = config.layer_scale
        self.scale_modulation = None if start is None else nn.Parameter(torch.full((width,), start))
        self.scale_feed_forward = None if start is None else nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the block: `[B, L, D]` to the same shape."""
        if self.norm_after:
            y = self.norm_modulation(self.modulation(x, state))
        else:
            y = self.modulation(self.norm_modulation(x), state)
        x = x + (y if self.scale_modulation is None else y * self.scale_modulation)
        if self.norm_after:
            y = self.norm_feed_forward(self.down(F.gelu(self.up(x))))
        else:
            y = self.down(F.gelu(self.up(self.norm_feed_forward(x))))
        return x + (y if self.scale_feed_forward is None else y * self.scale_feed_forward)
