"""From content vectors and a voice to sound: a transformer at the rate of a spectrum's frames, and what stands behind it.

`WaveSynthesis` (MioCodec): convolutional blocks around the transformer, an optional stack that raises the rate, and an inverse
short-time Fourier transform. `MelSynthesis` (Kanade): a mel spectrogram for a vocoder, refined by convolutions (Tacotron 2's, arXiv
1712.05884).

Letters: B batch, C channels, L content positions, F frames, E width of the voice, M mel bands.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...kernels.snake import SnakeBeta
from ...layers.vocos import FourierHead, FrameResBlock
from .transformer import WindowedConfig, WindowedTransformer

Interpolation = Literal["linear", "nearest"]


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """Settings common to both; a subclass names the rest.

    Attributes:
        prenet: the transformer over content vectors.
        prenet_out: its output channels; 0: its width.
        up: factor of the transposed convolution behind it; 1: none.
        interpolation: how its output is stretched to F frames.
        decoder: the transformer at F frames whose norms follow the voice.
        hop_samples: output samples from one frame of the spectrum to the next.
    """

    prenet: WindowedConfig = WindowedConfig(window=65)
    prenet_out: int = 512
    up: int = 2
    interpolation: Interpolation = "linear"
    decoder: WindowedConfig = WindowedConfig(width=512, layers=8, heads=8, feed_forward=1536, window=65)
    hop_samples: int = 480


@dataclass(frozen=True, kw_only=True)
class WaveConfig(SynthesisConfig):
    """Settings of `WaveSynthesis`; those not listed here are in `SynthesisConfig`.

    Attributes:
        window_samples: window of the inverse transform.
        blocks: convolutional blocks before the decoder, and as many behind it.
        block_kernel, block_groups, block_dropout: kernel of their convolutions, groups of their norms, dropout in training.
        raises: factors by which the frames' rate is raised before the inverse transform; empty: not.
        raise_kernels: kernels of these transposed convolutions; empty: twice the factor each.
    """

    window_samples: int = 1920
    blocks: int = 2
    block_kernel: int = 3
    block_groups: int = 32
    block_dropout: float = 0.1
    raises: tuple[int, ...] = ()
    raise_kernels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        width = self.prenet_out or self.prenet.width
        if width != self.decoder.width:
            raise ConfigError(f"prenet_out is {width}; it must be the decoder's width, {self.decoder.width}.")
        if self.raise_kernels and len(self.raise_kernels) != len(self.raises):
            raise ConfigError(f"raise_kernels is {self.raise_kernels}; give one for each of raises, {self.raises}, or none.")


@dataclass(frozen=True, kw_only=True)
class MelConfig(SynthesisConfig):
    """Settings of `MelSynthesis`; those not listed here are in `SynthesisConfig`.

    Attributes:
        bands: M.
        centred: a clip of T samples has T // hop + 1 frames; False: T // hop.
        post_width, post_kernel, post_layers: channels, kernel and number of the last convolutions.
        post_norm: "layer" or "batch".
        post_dropout: dropout in training.
    """

    up: int = 4
    decoder: WindowedConfig = WindowedConfig(width=512, layers=6, heads=8, feed_forward=1536, window=65)
    hop_samples: int = 256
    bands: int = 100
    centred: bool = True
    post_width: int = 256
    post_kernel: int = 7
    post_layers: int = 4
    post_norm: Literal["layer", "batch"] = "layer"
    post_dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.post_layers < 2 or not self.post_kernel % 2:
            raise ConfigError(f"post_layers is {self.post_layers}, post_kernel {self.post_kernel}; at least 2, and an odd kernel.")


class _Stretch(nn.Module):
    """Content vectors `[B, C, L]` to `[B, C', F]`: transformer, transposed convolution, interpolation."""

    def __init__(self, channels: int, config: SynthesisConfig) -> None:
        super().__init__()
        c = config
        if channels != c.prenet.width:
            raise ConfigError(f"prenet.width is {c.prenet.width}; it must be that of the content vectors, {channels}.")
        self.mode = c.interpolation
        self.prenet = WindowedTransformer(c.prenet, out_channels=c.prenet_out)
        width = self.prenet.out_channels
        self.up = nn.ConvTranspose1d(width, width, c.up, stride=c.up) if c.up > 1 else nn.Identity()

    def forward(self, z: Tensor, frames: int) -> Tensor:
        """Stretch `[B, C, L]` to `frames` frames."""
        return F.interpolate(self.up(self.prenet(z)), size=frames, mode=self.mode)


class Raise(nn.Module):
    """Frames `[B, C, F]` to `[B, C, F r]`, r the product of the factors: transposed convolution, Snake and a block each, then a map."""

    def __init__(self, channels: int, config: WaveConfig) -> None:
        super().__init__()
        c, widths = config, [channels // 2**i for i in range(len(config.raises) + 1)]
        kernels = c.raise_kernels or tuple(2 * r for r in c.raises)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(a, b, k, stride=r, padding=(k - r) // 2)
            for a, b, k, r in zip(widths, widths[1:], kernels, c.raises, strict=False)
        )
        self.acts = nn.ModuleList(SnakeBeta(b) for b in widths[1:])
        self.blocks = nn.ModuleList(FrameResBlock(b, groups=min(c.block_groups, b)) for b in widths[1:])
        self.out = nn.Linear(widths[-1], channels)
        self.act = SnakeBeta(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Raise the rate of `[B, C, F]`."""
        for up, act, block in zip(self.ups, self.acts, self.blocks, strict=True):
            x = block(act(up(x)))
        return self.act(self.out(x.transpose(1, 2)).transpose(1, 2))


class WaveSynthesis(nn.Module):
    """Content vectors `[B, C, L]` and voices `[B, E]` to waveforms `[B, 1, F r hop]`."""

    def __init__(self, channels: int, voice: int, config: WaveConfig) -> None:
        super().__init__()
        c = self.config = config
        width = c.decoder.width
        self.stretch = _Stretch(channels, c)
        self.before, self.after = (
            nn.Sequential(*(
                FrameResBlock(width, kernel_size=c.block_kernel, groups=c.block_groups, dropout=c.block_dropout)
                for _ in range(c.blocks)
            ))
            for _ in range(2)
        )  # fmt: skip
        self.decoder = WindowedTransformer(c.decoder, condition=voice)
        self.raised = Raise(width, c) if c.raises else nn.Identity()
        self.head = FourierHead(width, window_samples=c.window_samples, hop_samples=c.hop_samples)

    def forward(self, z: Tensor, voice: Tensor, samples: int) -> Tensor:
        """Waveforms of `samples` samples, cut to whole frames."""
        frames = max(1, samples // self.config.hop_samples // math.prod(self.config.raises))
        x = self.decoder(self.before(self.stretch(z, frames)), voice)
        return self.head(self.raised(self.after(x)).transpose(1, 2))[:, None].to(z.dtype)


class _ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of `[B, C, F]`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, F]`."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class PostNet(nn.Module):
    """Convolutions over a mel spectrogram `[B, M, F]`, tanh and dropout between, the input added."""

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        c = config
        widths = [c.bands, *[c.post_width] * (c.post_layers - 1), c.bands]
        norm = _ChannelNorm if c.post_norm == "layer" else nn.BatchNorm1d
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, c.post_kernel, padding=c.post_kernel // 2) for a, b in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(norm(b) for b in widths[1:])
        self.dropout = nn.Dropout(c.post_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Refine `[B, M, F]`."""
        y, last = x, len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = self.dropout(y if i == last else y.tanh())
        return x + y


class MelSynthesis(nn.Module):
    """Content vectors `[B, C, L]` and voices `[B, E]` to mel spectrograms `[B, M, F]`."""

    def __init__(self, channels: int, voice: int, config: MelConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stretch = _Stretch(channels, c)
        if self.stretch.prenet.out_channels != c.decoder.width:
            raise ConfigError(f"prenet_out is {c.prenet_out}; it must be the decoder's width, {c.decoder.width}.")
        self.decoder = WindowedTransformer(c.decoder, out_channels=c.bands, condition=voice)
        self.post = PostNet(c)

    def forward(self, z: Tensor, voice: Tensor, samples: int) -> Tensor:
        """Mel spectrograms of clips of `samples` samples."""
        frames = samples // self.config.hop_samples + int(self.config.centred)
        return self.post(self.decoder(self.stretch(z, max(1, frames)), voice))
