"""Vocos: a decoder at frame rate, whose last layer predicts spectra for the inverse short-time Fourier transform.

Siuzdak 2023, arXiv 2306.00814; WavTokenizer (arXiv 2408.16532) puts residual blocks and one attention in front.

Letters: B batch, D width, L frames, N conditions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..recomputable import Recomputable
from .stft import STFT


class ConditionedNorm(nn.Module):
    """LayerNorm over the width of `[B, L, D]`, with one learned scale and shift for each of N conditions."""

    def __init__(self, width: int, conditions: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(conditions, width))
        self.shift = nn.Parameter(torch.zeros(conditions, width))

    def forward(self, x: Tensor, condition: int) -> Tensor:
        """Normalise `[B, L, D]` with the scale and shift of `condition`, 0..N-1."""
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * self.scale[condition] + self.shift[condition]


class PlainNorm(nn.LayerNorm):
    """LayerNorm over the width of `[B, L, D]`, with the interface of `ConditionedNorm`; the condition is not used."""

    def __init__(self, width: int, *, eps: float = 1e-6) -> None:
        super().__init__(width, eps=eps)

    def forward(self, x: Tensor, condition: int) -> Tensor:
        """Normalise `[B, L, D]`; `condition` is not used."""
        return super().forward(x)


def make_norm(width: int, conditions: int, *, eps: float = 1e-6) -> nn.Module:
    """A `ConditionedNorm` with `conditions` conditions, or a `PlainNorm` if there are 0."""
    return ConditionedNorm(width, conditions, eps=eps) if conditions else PlainNorm(width, eps=eps)


class VocosBlock(nn.Module, Recomputable):
    """ConvNeXt block: depthwise convolution of 7, norm, two pointwise layers, layer scale, residual; `[B, D, L]`."""

    def __init__(self, width: int, hidden: int, *, layer_scale: float, conditions: int = 0, eps: float = 1e-6) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = make_norm(width, conditions, eps=eps)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, x: Tensor, condition: int = 0) -> Tensor:
        """Apply the block to `[B, D, L]`; `condition` is that of the norm."""
        y = self.norm(self.depthwise(x).transpose(1, 2), condition)  # [B, L, D]
        y = self.down(F.gelu(self.up(y))) * self.scale
        return x + y.transpose(1, 2)


class FrameResBlock(nn.Module, Recomputable):
    """Twice (group norm, SiLU, convolution), and the input added; `[B, D, L]`."""

    def __init__(self, width: int, *, kernel_size: int = 3, dropout: float = 0.0, groups: int = 32, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(groups, width, eps=eps)
        self.conv_in = nn.Conv1d(width, width, kernel_size, padding=(kernel_size - 1) // 2)
        self.norm_out = nn.GroupNorm(groups, width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = nn.Conv1d(width, width, kernel_size, padding=(kernel_size - 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `[B, D, L]`; the shape stays."""
        y = self.conv_in(F.silu(self.norm_in(x)))
        return x + self.conv_out(self.dropout(F.silu(self.norm_out(y))))


class FrameAttention(nn.Module):
    """Self-attention of one head over all frames, after a group norm, and the input added; `[B, D, L]`."""

    def __init__(self, width: int, *, groups: int = 32, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=eps)
        self.q = nn.Conv1d(width, width, 1)
        self.k = nn.Conv1d(width, width, 1)
        self.v = nn.Conv1d(width, width, 1)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the attention to `[B, D, L]`; the shape stays."""
        y = self.norm(x)
        q, k, v = (m(y).transpose(1, 2) for m in (self.q, self.k, self.v))  # [B, L, D] each
        if torch.compiler.is_exporting():  # ONNX's operator has an axis of heads
            return x + self.out(F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0].transpose(1, 2))
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2))


class FourierHead(nn.Module):
    """A linear map to log-magnitudes and angles, and the inverse transform; `[B, L, D]` to `[B, L * hop]`."""

    def __init__(self, width: int, *, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, window_samples + 2)
        self.stft = STFT(window_samples=window_samples, hop_samples=hop_samples, causal=False)

    def forward(self, x: Tensor) -> Tensor:
        """Waveforms `[B, L * hop]` of the last layer's states `[B, L, D]`."""
        magnitude, angle = self.out(x).float().chunk(2, dim=-1)  # [B, L, F] each
        return self.stft.synthesise(torch.polar(magnitude.exp().clamp(max=100), angle))
