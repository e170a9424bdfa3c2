"""MusicFM: features of music by a conformer over a mel spectrogram, 25 a second.

Won et al. 2023, arXiv 2311.03318 (minzwon/musicfm, MIT); the form in tencent-ailab/SongGeneration @ b1b03ec
(`our_MERT_BESTRQ/mert_fairseq/models/musicfm`), whose blocks are those of transformers' Wav2Vec2Conformer (arXiv 2005.08100).
Parts used only in training (random quantizer, masks, the head over mel codes) are left out.

Letters: B batch, T samples, F mel bands, M mel frames, N features frames (M / 4), D width, H heads, d width of a head.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor, nn

from ...config import ConfigError, Signed
from ...precision import KeepsDtype


@dataclass(frozen=True, kw_only=True)
class MusicFMConfig:
    """Settings of `MusicFM`; the defaults are the published model's.

    Attributes:
        sample_rate_hz: sampling rate of the input.
        hop_samples, window_samples, bands: hop, window length and number of bands (F) of the mel spectrogram.
        mean_db, deviation_db: mean and standard deviation, in decibels, that the spectrogram is normalised by.
        conv_width: channels of the convolutions that halve F and M twice.
        width: D, channels of the conformer.
        layers: number of conformer blocks.
        heads: H, number of attention heads.
        hidden: hidden width of the feed-forward parts.
        kernel_size: kernel size of the depthwise convolution, odd.
        rope_base: base of the rotary frequencies.
        eps: epsilon of the norm after the last block; norms within blocks have 1e-5.
    """

    sample_rate_hz: int = 24000
    hop_samples: int = 240
    window_samples: int = 2048
    bands: int = 128
    mean_db: Signed = 6.768444971712967
    deviation_db: float = 18.417922652295623
    conv_width: int = 512
    width: int = 1024
    layers: int = 12
    heads: int = 16
    hidden: int = 4096
    kernel_size: int = 31
    rope_base: float = 10000.0
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads of even width.")
        if self.bands % 4 or not self.kernel_size % 2:
            raise ConfigError(f"bands is {self.bands}, kernel_size {self.kernel_size}; need a multiple of 4 and an odd number.")

    @property
    def frame_samples(self) -> int:
        """Samples from one feature to the next."""
        return 4 * self.hop_samples


class ResidualConv2d(nn.Module):
    """Residual block: a branch of two convolutions, a skip of one, each with batch norm; both branches halve F and M."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, width, 3, padding=1, stride=2), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv3, self.norm3 = nn.Conv2d(channels, width, 3, padding=1, stride=2), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: `[B, C, F, M]` to `[B, width, F / 2, M / 2]`."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.norm3(self.conv3(x)) + y)


class FeedForward(nn.Sequential):
    """LayerNorm, linear map, SiLU, linear map; `[B, N, D]`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))


class RotaryAttention(nn.Module):
    """Self-attention whose input, not its queries and keys, is rotated by the rotary angles (as in transformers' conformer)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Apply the attention to `[B, N, D]`; `cos`, `sin` are those of the rotary angles, `[N, d]`."""
        x = self.norm(x)
        parts = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, N, d]
        a, b = parts.chunk(2, dim=-1)
        rotated = (parts * cos + torch.cat([-b, a], dim=-1) * sin).transpose(1, 2).flatten(2)  # [B, N, D]
        q, k, v = (m(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m, y in ((self.q, rotated), (self.k, rotated), (self.v, x)))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ConvModule(nn.Module):
    """LayerNorm, gated pointwise convolution, depthwise convolution, batch norm, pointwise convolution; `[B, N, D]`."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=False)
        self.batch_norm = nn.BatchNorm1d(width)
        self.out = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `[B, N, D]`; the shape stays."""
        y = self.depthwise(F.glu(self.gate(self.norm(x).transpose(1, 2)), dim=1))
        return self.out(F.silu(self.batch_norm(y))).transpose(1, 2)


class ConformerBlock(nn.Module):
    """Feed-forward part (added with weight 1/2), attention, convolution, second feed-forward part (weight 1/2), norm."""

    def __init__(self, config: MusicFMConfig) -> None:
        super().__init__()
        c = config
        self.before, self.after = FeedForward(c.width, c.hidden), FeedForward(c.width, c.hidden)
        self.attention = RotaryAttention(c.width, c.heads)
        self.conv = ConvModule(c.width, c.kernel_size)
        self.norm = nn.LayerNorm(c.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Apply the block to `[B, N, D]`; `cos`, `sin` are those of the rotary angles, `[N, d]`."""
        x = x + 0.5 * self.before(x)
        x = x + self.attention(x, cos, sin)
        x = x + self.conv(x)
        return self.norm(x + 0.5 * self.after(x))


class MusicFM(KeepsDtype):
    """Waveforms `[B, T]` to hidden states `[B, D, N]`; always in eval mode, never trained here."""

    exact = ("window", "filters")
    window: Tensor
    filters: Tensor

    def __init__(self, config: MusicFMConfig) -> None:
        super().__init__()
        self.config = c = config
        with torch.device("cpu"):  # torchaudio looks at the values, which a model on "meta" does not have
            filters = AF.melscale_fbanks(c.window_samples // 2 + 1, 0.0, c.sample_rate_hz / 2, c.bands, c.sample_rate_hz)
        self.register_buffer("window", torch.hann_window(c.window_samples), persistent=False)
        self.register_buffer("filters", filters, persistent=False)  # [bins, F]
        self.conv = nn.Sequential(ResidualConv2d(1, c.conv_width), ResidualConv2d(c.conv_width, c.conv_width))
        self.proj = nn.Linear(c.conv_width * c.bands // 4, c.width)
        self.blocks = nn.ModuleList(ConformerBlock(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width, eps=c.eps)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MusicFM":
        """Keep eval mode, whatever `mode` is."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor, layer: int) -> Tensor:
        """States `[B, D, N]` of `[B, T]`, N = T // (4 hops); layer 0 is the input of the first block, 1 its output.

        The last block's output is normalised once more.
        """
        if not 0 <= layer <= self.config.layers:
            raise ValueError(f"layer is {layer}; there are {self.config.layers}: 0 to {self.config.layers}.")
        h = self.proj(self.conv(self.spectrogram(x)[:, None]).permute(0, 3, 1, 2).flatten(2))  # [B, N, D]
        cos, sin = self._angles(h)
        for block in self.blocks[:layer]:
            h = block(h, cos, sin)
        return (self.norm(h) if layer == self.config.layers else h).transpose(1, 2)

    def spectrogram(self, x: Tensor) -> Tensor:
        """Normalised decibels `[B, F, M]`, M a multiple of 4."""
        c = self.config
        whole = x[:, : x.shape[1] // c.frame_samples * c.frame_samples].float()
        spectrum = torch.stft(whole, c.window_samples, c.hop_samples, window=self.window, return_complex=True)
        with torch.autocast(x.device.type, enabled=False):
            power = spectrum.abs().square().transpose(1, 2) @ self.filters  # [B, M + 1, F]
        db = 10 * power.clamp(min=1e-10).log10().transpose(1, 2)[..., :-1]
        return ((db - c.mean_db) / c.deviation_db).to(self.proj.weight.dtype)

    def _angles(self, h: Tensor) -> tuple[Tensor, Tensor]:
        c = self.config
        d = c.width // c.heads
        rates = 1.0 / c.rope_base ** (torch.arange(0, d, 2, dtype=torch.float32, device=h.device) / d)
        angles = torch.arange(h.shape[1], dtype=torch.float32, device=h.device)[:, None] * rates  # [N, d / 2]
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(h.dtype), angles.sin().to(h.dtype)
