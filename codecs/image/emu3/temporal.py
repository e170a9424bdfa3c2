"""Convolutions over time for image tokenizers that also take video: causal 3-D convolution, residual block, resampling.

As in Emu3's vision tokenizer (baaivision/Emu3 @ f6ea9aaa44, arXiv 2409.18869).
Letters: B batch, C channels, T frames, h w grid.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.fixed_norm import FixedNorm
from ...recomputable import Recomputable


class CausalConv3d(nn.Conv3d):
    """3-D convolution with zeros before the first frame (always two) and around each frame; `[B, C, T, h, w]`.

    Args:
        kernel: (frames, rows, columns); rows and columns odd.
        time_stride: frames from one output to the next.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int, int], *, time_stride: int = 1) -> None:
        padding = (0, kernel[1] // 2, kernel[2] // 2)
        super().__init__(in_channels, out_channels, kernel, stride=(time_stride, 1, 1), padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[B, C, T, h, w]` to `[B, C', T / time_stride, h, w]`."""
        return super().forward(F.pad(x, (0, 0, 0, 0, 2, 0)))


class TemporalResBlock(nn.Module, Recomputable):
    """(norm, SiLU, 3x3x3 causal convolution) twice, and the input added; `[B, C, T, h, w]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = FixedNorm(channels), FixedNorm(channels)
        self.conv1 = CausalConv3d(channels, channels, (3, 3, 3))
        self.conv2 = CausalConv3d(channels, channels, (3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `[B, C, T, h, w]`."""
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


def repeat_frames(x: Tensor) -> Tensor:
    """Every frame twice, `[B, C, T, h, w]` to `[B, C, 2 T, h, w]`."""
    return x.repeat_interleave(2, dim=2)
