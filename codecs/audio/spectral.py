"""A codec that works at frame rate: short-time spectra in, ConvNeXt blocks, any quantizer, inverse transform out.

In the line of Vocos (Siuzdak 2023, arXiv 2306.00814) and APCodec (Ai et al. 2024, arXiv 2402.10533): no layer runs
faster than the tokens, so it trains and runs on a CPU. Own architecture and weights; there is no upstream checkpoint.

Letters: B batch, T samples, L = T / hop frames, F frequencies, D latent width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..layers.causal import State
from ..layers.convnext1d import ConvNeXtStack1d
from ..layers.stft import STFT
from ..quantizers.base import QuantizerConfig
from ..quantizers.residual_vq import ResidualVQConfig
from ..spec import AudioSpec
from .base import AudioTokenizer, pad_to_hop
from .normalize import RMSNormalizer
from .stream import AudioStream


@dataclass(frozen=True, kw_only=True)
class SpectralConfig:
    """Settings of `SpectralCodec`.

    Attributes:
        sample_rate_hz: rate of the waveform.
        hop_samples: samples from one frame (token position) to the next.
        window_samples: length of the Hann window of both transforms, a multiple of the hop.
        width: channels of the ConvNeXt blocks.
        encoder_blocks, decoder_blocks: number of ConvNeXt blocks on each side.
        kernel_size: kernel of the depthwise convolutions, in frames.
        expansion: hidden width of a block divided by `width`.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer; its `dim` is filled in.
        causal: no layer looks ahead; the codec streams with a latency of one frame.
        normalize: "rms" brings every clip to one loudness and keeps the factor in `Tokens.scale`. Not causal.
    """

    sample_rate_hz: int = 16000
    hop_samples: int = 320
    window_samples: int = 640
    width: int = 256
    encoder_blocks: int = 3
    decoder_blocks: int = 6
    kernel_size: int = 7
    expansion: int = 4
    latent_dim: int = 32
    quantizer: QuantizerConfig = ResidualVQConfig(num_codebooks=8)
    causal: bool = False
    normalize: Literal["none", "rms"] = "none"

    def __post_init__(self) -> None:
        if self.causal and self.normalize != "none":
            raise ValueError('normalize must be "none" in a causal codec: the loudness of the future is not known.')


class SpectralEncoder(nn.Module):
    """Log-magnitude and compressed complex spectrum of each frame, through ConvNeXt blocks, to latents."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        c = config
        self.stft = STFT(window_samples=c.window_samples, hop_samples=c.hop_samples, causal=c.causal)
        bins = c.window_samples // 2 + 1
        self.body = ConvNeXtStack1d(
            3 * bins,
            c.width,
            c.encoder_blocks,
            embed_kernel=1,
            kernel_size=c.kernel_size,
            expansion=c.expansion,
            causal=c.causal,
        )
        self.out = nn.Conv1d(c.width, c.latent_dim, 1)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Encode waveforms `[B, T]` to latents `[B, D, L]`."""
        spectra = self.stft.analyse(x, state)  # [B, L, F]
        magnitude = spectra.abs().clamp(min=1e-5)
        # The complex spectrum with the square root of its magnitude: phases of strong tones weigh more than those of noise.
        phased = spectra / magnitude.sqrt()
        features = torch.cat([magnitude.log(), phased.real, phased.imag], dim=-1)
        return self.out(self.body(features.transpose(1, 2).to(self.out.weight.dtype), state))


class SpectralDecoder(nn.Module):
    """Latents through ConvNeXt blocks to a gain and a direction for each frequency, then the inverse transform."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        c = config
        self.stft = STFT(window_samples=c.window_samples, hop_samples=c.hop_samples, causal=c.causal)
        self.body = ConvNeXtStack1d(
            c.latent_dim,
            c.width,
            c.decoder_blocks,
            embed_kernel=c.kernel_size,
            kernel_size=c.kernel_size,
            expansion=c.expansion,
            causal=c.causal,
        )
        self.out = nn.Conv1d(c.width, 3 * (c.window_samples // 2 + 1), 1)

    def forward(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Decode latents `[B, D, L]` to waveforms `[B, L * hop]`."""
        gain, real, imag = self.out(self.body(z_q, state)).transpose(1, 2).float().chunk(3, dim=-1)  # [B, L, F] each
        # Differs: Vocos predicts an angle. Here the direction is a free complex number, smooth where an angle wraps.
        gain = gain.clamp(max=6).exp()
        return self.stft.synthesise(torch.complex(gain * real, gain * imag), state, key=self)


class SpectralCodec(RMSNormalizer, AudioTokenizer):
    """Audio codec at frame rate; see the module's docstring."""

    family: ClassVar[str] = "spectral"
    config_class: ClassVar[type] = SpectralConfig

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpectralEncoder(config)
        self.quantizer = config.quantizer.build(dim=config.latent_dim)
        self.decoder = SpectralDecoder(config)
        overlap = config.window_samples // config.hop_samples
        self.context_frames = max(self.encoder.body.context, self.decoder.body.context) + overlap
        self.encoder_context_frames = self.encoder.body.context + overlap
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=config.hop_samples,
            causal=config.causal,
            latency_samples=config.hop_samples - 1 if config.causal else 0,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of `[B, 1, T]`."""
        return self.encoder(pad_to_hop(x, self.spec.hop_samples)[:, 0])

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        return self.decoder(z_q)[:, None]

    def stream(self) -> AudioStream:
        """Start a stream; its outputs, joined, equal those for the whole clip. Only where `spec.causal`."""
        return AudioStream(
            self,
            encode=lambda x, state: self.encoder(x[:, 0], state),
            decode=lambda z_q, state: self.decoder(z_q, state)[:, None],
        )
