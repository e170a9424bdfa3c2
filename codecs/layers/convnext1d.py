"""ConvNeXt blocks over frames (Liu et al. 2022, arXiv 2201.03545; one-dimensional as in Vocos, arXiv 2306.00814).

Letters: B batch, D width, L frames.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..recomputable import Recomputable
from .causal import Conv1d, State, Streaming


class ConvNeXtBlock1d(Streaming, Recomputable):
    """Depthwise convolution, LayerNorm, two pointwise layers with GELU between, layer scale, residual; `[B, D, L]`."""

    def __init__(
        self,
        width: int,
        *,
        kernel_size: int,
        layer_scale: float | None,
        causal: bool,
        expansion: int = 4,
        hidden: int = 0,
        edge: Literal["zeros", "replicate"] = "zeros",
    ) -> None:
        """Args:
        width: D.
        kernel_size: kernel of the depthwise convolution, in frames.
        layer_scale: initial value of the layer scale; None: no layer scale.
        causal: whether the convolution depends on earlier frames only.
        expansion: hidden width as a multiple of D.
        hidden: hidden width itself, in place of `expansion`; 0: D * expansion.
        edge: padding beyond the ends of the signal, see `Conv1d`.
        """
        super().__init__()
        hidden = hidden or width * expansion
        self.depthwise = Conv1d(width, width, kernel_size, groups=width, causal=causal, edge=edge)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the block to `[B, D, L]`; with `state`, to the next piece of a stream."""
        y = self.depthwise(x, state).transpose(1, 2)  # [B, L, D]
        y = self.down(F.gelu(self.up(self.norm(y))))
        y = y if self.scale is None else y * self.scale
        return x + y.transpose(1, 2)


class ConvNeXtStack1d(Streaming):
    """Convolution to the width D, LayerNorm, `blocks` ConvNeXt blocks, LayerNorm; `[B, C, L]` to `[B, D, L]`.

    `context` is the number of frames on either side (on the left if causal) that a frame depends on.
    """

    def __init__(
        self, in_channels: int, width: int, blocks: int, *, embed_kernel: int, kernel_size: int, expansion: int, causal: bool
    ) -> None:
        super().__init__()
        self.embed = Conv1d(in_channels, width, embed_kernel, causal=causal)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock1d(width, kernel_size=kernel_size, expansion=expansion, layer_scale=1 / blocks, causal=causal)
            for _ in range(blocks)
        )
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        reach = blocks * (kernel_size - 1) + embed_kernel - 1
        self.context = reach if causal else -(-reach // 2)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the stack to `[B, C, L]`; with `state`, to the next piece of a stream."""
        x = self.embed(x, state)
        x = self.norm_in(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x, state)
        return self.norm_out(x.transpose(1, 2)).transpose(1, 2)
