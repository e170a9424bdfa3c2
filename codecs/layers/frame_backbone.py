"""Vocos' backbone (Siuzdak 2023, arXiv 2306.00814): a convolution to its width and ConvNeXt blocks, optionally following a vector.

Letters: B batch, C channels, D width, L frames, E width of the vector.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .vocos import VocosBlock


class VectorNorm(nn.Module):
    """LayerNorm over the width of `[B, L, D]`, scaled and shifted by linear maps of a vector `[B, E]` (no 1 is added to the scale)."""

    def __init__(self, width: int, condition: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Linear(condition, width)
        self.shift = nn.Linear(condition, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise `[B, L, D]`."""
        y = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        return y * self.scale(condition)[:, None] + self.shift(condition)[:, None]


class FrameBackbone(nn.Module):
    """`[B, C, L]` to `[B, D, L]`.

    Args:
        channels: C.
        width: D.
        hidden: inner width of the blocks.
        layers: number of blocks.
        condition: E, where the norms follow a vector; 0: ordinary norms.
    """

    def __init__(self, channels: int, width: int, hidden: int, layers: int, *, condition: int = 0) -> None:
        super().__init__()
        self.embed = nn.Conv1d(channels, width, 7, padding=3)
        self.norm_in: nn.Module = VectorNorm(width, condition) if condition else nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(VocosBlock(width, hidden, layer_scale=1 / layers) for _ in range(layers))
        if condition:
            for block in self.blocks:
                block.norm = VectorNorm(width, condition)
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        for module in self.modules():  # as Vocos starts
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        self.condition = condition

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Apply the backbone to `[B, C, L]`, with a vector `[B, E]` for each item where it takes one."""
        x = self.embed(x).transpose(1, 2)
        x = (self.norm_in(x, condition) if self.condition else self.norm_in(x)).transpose(1, 2)
        for block in self.blocks:
            x = block(x, condition) if self.condition else block(x)
        return self.norm_out(x.transpose(1, 2)).transpose(1, 2)
