"""The encoder of H-Codec 2.0: short-time spectra, ConvNeXt blocks, a transformer, one strided convolution.

arXiv 2512.20151; read from alibaba/unified-audio @ 7afa7ab, QuarkAudio-HCodec/HCodec-2.0/vq/codec_encoder.py (Apache-2.0).

Letters: B batch, T samples, L positions, D latent width, W width.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...layers.convnext1d import ConvNeXtBlock1d
from ...layers.stft import STFT
from ...layers.transformer1d import Transformer1d
from ..base import pad_to_hop
from .transformer import frame_transformer


@dataclass(frozen=True, kw_only=True)
class SpectraConfig:
    """Settings of `SpectraEncoder`; the defaults are those of H-Codec 2.0.

    Attributes:
        width: W.
        hidden: inner width of the ConvNeXt blocks.
        blocks: number of these blocks.
        heads: attention heads of the transformer.
        layers: number of its layers.
        feed_forward: inner width of its feed-forward networks.
        latent_dim: D.
        window_samples: window length of the Fourier transform.
        hop_samples: samples from one spectrum to the next; `window_samples - hop_samples` is even.
        stride: spectra of one position.
    """

    width: int = 1536
    hidden: int = 4608
    blocks: int = 24
    heads: int = 24
    layers: int = 2
    feed_forward: int = 4096
    latent_dim: int = 512
    window_samples: int = 1920
    hop_samples: int = 960
    stride: int = 4

    def __post_init__(self) -> None:
        if (self.window_samples - self.hop_samples) % 2:
            raise ValueError(f"window_samples ({self.window_samples}) less hop_samples ({self.hop_samples}) must be even.")


class SpectraEncoder(nn.Module):
    """Waveforms `[B, 1, T]`, any T, to latents `[B, D, ceil(T / (hop * stride))]`."""

    def __init__(self, config: SpectraConfig) -> None:
        super().__init__()
        c = config
        self.hop = c.hop_samples * c.stride
        self.stft = STFT(window_samples=c.window_samples, hop_samples=c.hop_samples, causal=False)
        self.embed = nn.Conv1d(c.window_samples + 2, c.width, 3, padding=1)
        self.norm_in = nn.LayerNorm(c.width, eps=1e-6)
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock1d(c.width, kernel_size=7, layer_scale=1 / c.blocks, causal=False, hidden=c.hidden) for _ in range(c.blocks))
        )
        self.transformer: Transformer1d = frame_transformer(c.width, heads=c.heads, layers=c.layers, feed_forward=c.feed_forward)
        self.norm_out = nn.LayerNorm(c.width, eps=1e-6)
        self.head = nn.Conv1d(c.width, c.latent_dim, 2 * c.stride + 1, stride=c.stride, padding=c.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: `[B, 1, T]` to `[B, D, ceil(T / (hop * stride))]`; a partial last position is filled up with silence."""
        spectra = self.stft.analyse(pad_to_hop(x, self.hop)[:, 0].float()).transpose(1, 2)  # [B, F, N]
        magnitude, angle = spectra.abs().clamp(min=1e-5).log(), spectra.angle() / math.pi
        y = self.embed(torch.cat([magnitude, angle], dim=1).to(x.dtype))
        y = self.norm_in(y.transpose(1, 2)).transpose(1, 2)
        y = self.transformer(self.blocks(y))
        return self.head(self.norm_out(y.transpose(1, 2)).transpose(1, 2))
