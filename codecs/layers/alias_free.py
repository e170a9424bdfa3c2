"""Anti-aliased activation: computed at twice the sampling rate, between two low-pass filters.

Letters: B batch, C channels, T steps.
"""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AliasFree(nn.Module):
    """An activation at twice the rate, between two low-pass filters, so that its overtones cause no aliasing; `[B, C, T]`.

    StyleGAN3 (Karras et al. 2021, arXiv 2106.12423), as in BigVGAN: Kaiser-windowed sinc filters of 12 taps, the
    ends padded with the first and the last value.
    """

    #: Taps of each filter.
    TAPS: ClassVar[int] = 12
    taps: Tensor

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.register_buffer("taps", low_pass_filter(0.25, 0.3, self.TAPS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the filters and the activation to `[B, C, T]`; the shape stays."""
        shape, half = x.shape, self.TAPS // 2
        taps = self.taps.to(x.dtype)[None, None]
        x = F.pad(x, (half - 1, half - 1), mode="replicate").flatten(0, 1)[:, None]  # [B C, 1, T + 10]
        cut = 3 * half - 3  # 2 (half - 1) of the padding, and half the filter's own length beyond the stride
        x = 2 * F.conv_transpose1d(x, taps, stride=2)[..., cut:-cut]  # [B C, 1, 2 T]
        x = self.activation(x.unflatten(0, shape[:2])[:, :, 0])
        x = F.pad(x, (half - 1, half), mode="replicate").flatten(0, 1)[:, None]
        return F.conv1d(x, taps, stride=2).unflatten(0, shape[:2])[:, :, 0]


def low_pass_filter(cutoff: float, half_width: float, taps: int) -> Tensor:
    """A Kaiser-windowed sinc filter `[taps]` with sum 1.

    Args:
        cutoff: cutoff frequency in cycles a sample.
        half_width: half the width of the transition band in cycles a sample; sets the window's beta by Kaiser's formulas.
        taps: length, an even number.
    """
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * half_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    window = torch.kaiser_window(taps, beta=beta, periodic=False)
    time = torch.arange(-(taps // 2), taps // 2) + 0.5
    kernel = 2 * cutoff * window * torch.sinc(2 * cutoff * time)
    return kernel / kernel.sum()
