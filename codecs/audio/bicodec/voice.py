"""The voice of a clip as a fixed number of vectors: ECAPA-TDNN over a mel spectrogram, read by a perceiver.

ECAPA-TDNN: Desplanques et al. 2020, arXiv 2005.07143. Perceiver resampler: Flamingo's (Alayrac et al. 2022, arXiv 2204.14198).

Letters: B batch, M mel bands, C channels, N frames, D width of the vectors, P their number, H heads.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.attentive_statistics import AttentiveStatistics


@dataclass(frozen=True, kw_only=True)
class VoiceConfig:
    """Settings of `VoiceEncoder`.

    Attributes:
        bands: M.
        channels: C of the ECAPA blocks, a multiple of 8.
        out_channels: channels of their joint output.
        squeeze: inner width of the squeeze-and-excitation.
        dim: D.
        count: P.
        layers: of the perceiver.
        heads, head_dim: of its attention.
    """

    bands: int = 128
    channels: int = 512
    out_channels: int = 1536
    squeeze: int = 128
    dim: int = 128
    count: int = 32
    layers: int = 2
    heads: int = 8
    head_dim: int = 64

    def __post_init__(self) -> None:
        if self.channels % _SCALE:
            raise ConfigError(f"channels is {self.channels}; it must be a multiple of {_SCALE}.")


#: Groups of channels of a Res2Net convolution.
_SCALE = 8


class SteadyBatchNorm(nn.BatchNorm1d):
    """Batch norm that without gradients uses its running statistics in train mode too, so that `encode` gives the same ids."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, N]`."""
        if self.training and not torch.is_grad_enabled():
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class ConvUnit(nn.Module):
    """Convolution, ReLU, batch norm; `[B, C, N]`."""

    def __init__(self, channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = SteadyBatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        return self.norm(F.relu(self.conv(x)))


class Res2Conv(nn.Module):
    """Groups of channels one after the other, each with the output of the one before added; the last group passes; `[B, C, N]`."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        width = channels // _SCALE
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation) for _ in range(_SCALE - 1))
        self.norms = nn.ModuleList(SteadyBatchNorm(width) for _ in range(_SCALE - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolutions."""
        parts = list(x.chunk(_SCALE, dim=1))
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            parts[i] = norm(F.relu(conv(parts[i] if i == 0 else parts[i - 1] + parts[i])))
        return torch.cat(parts, dim=1)


class EcapaBlock(nn.Module):
    """Unit, Res2Net convolution, unit, squeeze-and-excitation, and the input added; `[B, C, N]`."""

    def __init__(self, channels: int, dilation: int, squeeze: int) -> None:
        super().__init__()
        self.first, self.res2, self.last = ConvUnit(channels, channels), Res2Conv(channels, dilation), ConvUnit(channels, channels)
        self.squeeze, self.excite = nn.Linear(channels, squeeze), nn.Linear(squeeze, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = self.last(self.res2(self.first(x)))
        return x + y * self.excite(F.relu(self.squeeze(y.mean(2)))).sigmoid()[..., None]


class PerceiverLayer(nn.Module):
    """Attention of queries to themselves and to a context, and a gated feed-forward network, each with the input added."""

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        c, inner = config, int(config.dim * 4 * 2 / 3)
        self.heads, width = c.heads, c.heads * c.head_dim
        self.q, self.kv = nn.Linear(c.dim, width, bias=False), nn.Linear(c.dim, 2 * width, bias=False)
        self.out = nn.Linear(width, c.dim, bias=False)
        self.up, self.down = nn.Linear(c.dim, 2 * inner), nn.Linear(inner, c.dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Queries `[B, P, D]` after reading a context `[B, N, D]`."""
        k, v = self.kv(torch.cat([x, context], dim=1)).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.q(x), k, v))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        value, gate = self.up(x).chunk(2, dim=-1)
        return x + self.down(F.gelu(gate) * value)


class VoiceEncoder(nn.Module):
    """Mel spectrograms `[B, M, N]` to vectors `[B, D, P]`."""

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__()
        c = config
        self.stem = ConvUnit(c.bands, c.channels, 5)
        self.blocks = nn.ModuleList(EcapaBlock(c.channels, d, c.squeeze) for d in (2, 3, 4))
        self.joint = nn.Conv1d(3 * c.channels, c.out_channels, 1)
        self.context = nn.Linear(c.out_channels, c.dim) if c.out_channels != c.dim else nn.Identity()
        self.queries = nn.Parameter(0.02 * torch.randn(c.count, c.dim))
        self.layers = nn.ModuleList(PerceiverLayer(c) for _ in range(c.layers))
        self.gain = nn.Parameter(torch.ones(c.dim))

    def forward(self, x: Tensor) -> Tensor:
        """The voice's vectors."""
        return self.read(self.frames(x))

    def frames(self, x: Tensor) -> Tensor:
        """The ECAPA blocks' joint output `[B, C', N]`."""
        x, outs = self.stem(x), []
        for block in self.blocks:
            x = block(x)
            outs.append(x)
        return F.relu(self.joint(torch.cat(outs, dim=1)))

    def read(self, frames: Tensor) -> Tensor:
        """The voice's vectors `[B, D, P]` from the blocks' joint output."""
        context = self.context(frames.transpose(1, 2))
        y = self.queries.expand(len(frames), -1, -1)
        for layer in self.layers:
            y = layer(y, context)
        return (F.normalize(y, dim=-1) * y.shape[-1] ** 0.5 * self.gain).transpose(1, 2)


class VoiceGuide(nn.Module):
    """One vector `[B, E]` of a voice, not quantized, from the ECAPA blocks' joint output `[B, C', N]`; for training.

    Differs: layer norm where the authors have batch norm, so that one clip is enough.
    """

    def __init__(self, channels: int, dim: int, attention: int = 128) -> None:
        super().__init__()
        self.pool = AttentiveStatistics(channels, attention, context=True)
        self.norm = nn.LayerNorm(2 * channels)
        self.proj = nn.Linear(2 * channels, dim)

    def forward(self, frames: Tensor) -> Tensor:
        """The vectors of `[B, C', N]`."""
        return self.proj(self.norm(self.pool(frames)))
