"""LongCat-Audio-Codec's speech tokenizer: filter banks, two strided convolutions, a transformer, the nearest of k-means centres.

Zhao et al. 2025, arXiv 2510.15227, section 2.1; meituan-longcat/LongCat-Audio-Codec @ 98dd5e4 (MIT),
`semantic_tokenizer_general`. It is trained separately (BEST-RQ, then CTC), never with the codec: no gradients here.

    16 kHz -> 80 log mel energies every 10 ms, normalised by a corpus' mean and deviation -> convolutions, 16.67 Hz
    -> 26 blocks of attention over the whole clip -> length 1 -> id of the nearest of 8192 centres

Letters: B batch, T samples, M frames of the filter bank, F bands, L positions, D width, V centres.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...precision import KeepsDtype
from ...quantizers.parts.nearest import nearest_code, unit
from ...recomputable import Recomputable

#: Factor on waveforms in -1..1 before the filter bank.
PCM = 32767.0
#: Smallest mel energy, and smallest deviation of a band.
SMALLEST = torch.finfo(torch.float32).eps
#: Kernel of the convolutions, in frames and in bands.
KERNEL = 3


@dataclass(frozen=True, kw_only=True)
class SpeechIdsConfig:
    """Settings of `SpeechIds`; the defaults are those of the published speech tokenizer.

    Attributes:
        sample_rate_hz: sampling rate of the input.
        window_samples, hop_samples, bands: window length, hop and number of bands (F) of the mel filter bank.
        low_hz, high_hz: lowest and highest frequency of the filter bank.
        preemphasis: this factor times the previous sample is subtracted from each sample.
        strides: stride over frames of each convolution.
        conv_width: channels of the convolutions.
        width: D, channels of the transformer.
        layers, heads, hidden: number of layers, of attention heads, and hidden width of the transformer's feed-forward parts.
    """

    sample_rate_hz: int = 16000
    window_samples: int = 400
    hop_samples: int = 160
    bands: int = 80
    low_hz: float = 40.0
    high_hz: float = 7800.0
    preemphasis: float = 0.97
    strides: tuple[int, ...] = (2, 3)
    conv_width: int = 32
    width: int = 1280
    layers: int = 26
    heads: int = 20
    hidden: int = 5120

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ConfigError(f"width is {self.width}; it must be even and divide into {self.heads} heads.")
        if not self.strides or self.bands <= (KERNEL - 1) * len(self.strides):
            raise ConfigError(
                f"strides is {self.strides} and bands {self.bands}; give at least one stride, and more than "
                f"{(KERNEL - 1) * len(self.strides)} bands for that number of convolutions."
            )
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ConfigError(f"low_hz {self.low_hz} and high_hz {self.high_hz} must lie in 0..{self.sample_rate_hz / 2}.")


class SpeechBlock(nn.Module, Recomputable):
    """Attention and a feed-forward part, each after a norm and added to its input, then a last norm; `[B, L, D]`."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed_forward, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: `[B, L, D]` to the same shape."""
        qkv = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, L, D / H]
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.norm_out(x + self.down(F.gelu(self.up(self.norm_feed_forward(x)))))


class SpeechIds(KeepsDtype):
    """Waveforms `[B, 1, T]` to ids int64 `[B, 1, L]`; the weights are frozen."""

    exact = ("window", "filters", "mean", "scale", "centres")
    window: Tensor
    filters: Tensor
    mean: Tensor
    scale: Tensor
    centres: Tensor

    def __init__(self, config: SpeechIdsConfig, size: int) -> None:
        super().__init__()
        self.config = c = config
        widths = [1, *[c.conv_width] * len(c.strides)]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, KERNEL, (s, 1)) for a, b, s in zip(widths, widths[1:], c.strides, strict=False))
        self.proj = nn.Linear(c.conv_width * (c.bands - (KERNEL - 1) * len(c.strides)), c.width)
        self.norm = nn.LayerNorm(c.width)
        self.blocks = nn.Sequential(*(SpeechBlock(c.width, c.heads, c.hidden) for _ in range(c.layers)))
        self.register_buffer("mean", torch.zeros(c.bands))
        self.register_buffer("scale", torch.ones(c.bands))
        self.register_buffer("centres", torch.randn(size, c.width) / c.width**0.5)  # [V, D]
        self.register_buffer("window", torch.hann_window(c.window_samples, periodic=False) ** 0.85, persistent=False)
        self.register_buffer("filters", mel_filters(c), persistent=False)  # [bins, F]
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Ids int64 `[B, 1, L]` of `[B, 1, T]`; clips shorter than a window are padded with silence."""
        z = self.features(x)
        return nearest_code(unit(z.float()).flatten(0, 1), self.centres).view(len(z), 1, -1)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Transformer output `[B, L, D]` for waveforms `[B, 1, T]`."""
        x = ((self.energies(x[:, 0]) - self.mean) * self.scale).to(self.norm.weight.dtype)[:, None]  # [B, 1, M, F]
        for conv in self.convs:
            x = F.relu(conv(F.pad(x, (0, 0, KERNEL - 1, 0))))  # frames before the first are zero
        x = self.norm(self.proj(x.transpose(1, 2).flatten(2)))
        return self.blocks(x * self.config.width**0.5 + _positions(x))

    def energies(self, x: Tensor) -> Tensor:
        """Log mel energies `[B, M, F]` of `[B, T]` in -1..1, as Kaldi computes them, but without subtracting each frame's mean."""
        c = self.config
        x = F.pad(PCM * x.float(), (0, max(0, c.window_samples - x.shape[-1])))
        frames = x.unfold(-1, c.window_samples, c.hop_samples)  # [B, M, W]
        before = F.pad(frames, (1, 0), mode="replicate")[..., :-1]
        frames = (frames - c.preemphasis * before) * self.window
        power = torch.fft.rfft(frames, n=_fft_samples(c)).abs().square()
        with torch.autocast(x.device.type, enabled=False):
            return (power @ self.filters).clamp(min=SMALLEST).log()


def _positions(x: Tensor) -> Tensor:
    """Position embeddings `[L, D]`, sines and cosines interleaved, for a sequence `[B, L, D]`."""
    length, width = x.shape[1:]
    rates = torch.exp(torch.arange(0, width, 2, device=x.device, dtype=torch.float32) * (-math.log(10000.0) / width))
    angles = torch.arange(length, device=x.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(x.dtype)


def _fft_samples(config: SpeechIdsConfig) -> int:
    """Length of the Fourier transform: the window's length, rounded up to a power of two."""
    return 1 << (config.window_samples - 1).bit_length()


def mel_filters(config: SpeechIdsConfig) -> Tensor:
    """Triangular filters `[bins, F]`, equally spaced on Kaldi's mel scale; the highest frequency bin has weight 0."""
    c, points = config, _fft_samples(config)
    low, high = (1127.0 * math.log(1.0 + hz / 700.0) for hz in (c.low_hz, c.high_hz))
    step = (high - low) / (c.bands + 1)
    left = low + torch.arange(c.bands)[:, None] * step
    middle = low + (torch.arange(c.bands)[:, None] + 1.0) * step
    right = low + (torch.arange(c.bands)[:, None] + 2.0) * step
    mel = 1127.0 * (1.0 + c.sample_rate_hz / points * torch.arange(points // 2) / 700.0).log()
    slopes = torch.minimum((mel - left) / (middle - left), (right - mel) / (right - middle))
    return F.pad(slopes.clamp(min=0), (0, 1)).t().contiguous()
