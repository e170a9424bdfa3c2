"""BigCodec: one codebook of 8192 entries between wide alias-free convolutions with LSTMs.

Xin et al. 2024, "BigCodec: Pushing the Limits of Low-Bitrate Neural Speech Codec", arXiv 2409.05377. Parity was checked against
Aria-K-Alethia/BigCodec @ 09845ab (MIT).

Strided convolutions (DAC's, with alias-free Snake activations) and an LSTM encode `[B, 1, T]` to latents `[B, D, L]`, one for
every hop of 200 samples: 80 a second at 16 kHz. The quantizer projects each to 8 channels and takes the code with the highest
cosine similarity: ids `[B, 1, L]`. The decoder mirrors the encoder and returns `[B, 1, L * hop]`, in -1..1.

A clip is padded with 1 to `hop` zeros: a clip of exactly n frames gets n + 1.

Letters: B batch, C channels, T samples, D latent width, K codebooks, L positions (frames).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.snake import SnakeBeta
from ...layers.alias_free import AliasFree
from ...layers.dac import DILATIONS, DACDown, DACUp, dac_init
from ...layers.strided import StridedConfig
from ...precision import LSTM
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ..base import AudioTokenizer


@dataclass(frozen=True, kw_only=True)
class BigCodecConfig(StridedConfig):
    """Settings of `BigCodec`; the defaults are the published model's. What is not listed here is in `StridedConfig`.

    Attributes:
        dilations, decoder_dilations: dilation of each residual unit of a level; `decoder_dilations` empty: those of the encoder.
        encoder_lstm_layers, decoder_lstm_layers: number of LSTM layers at frame rate; 0: no LSTM.
        encoder_lstm_bidirectional, decoder_lstm_bidirectional: the LSTM has two directions, each with half the channels.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer; its `dim` is filled in. The published one is factorised, with one level.
    """

    sample_rate_hz: int = 16000
    strides: tuple[int, ...] = (2, 2, 2, 5, 5)
    encoder_width: int = 48
    dilations: tuple[int, ...] = DILATIONS
    decoder_dilations: tuple[int, ...] = ()
    encoder_lstm_layers: int = 2
    decoder_lstm_layers: int = 2
    encoder_lstm_bidirectional: bool = False
    decoder_lstm_bidirectional: bool = False
    latent_dim: int = 1024
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=1,
        codebook_size=8192,
        codebook_dim=8,
        normalize=True,
        update="gradient",
        kmeans_init=False,
        replace_below=0.0,
    )


def _activation(channels: int) -> nn.Module:
    return AliasFree(SnakeBeta(channels))


class ResidualLSTM(nn.Module):
    """LSTM over the steps of `[B, C, T]`, its input added; two directions of half the width when bidirectional."""

    def __init__(self, width: int, layers: int, *, bidirectional: bool) -> None:
        super().__init__()
        hidden = width // 2 if bidirectional else width
        self.lstm = LSTM(width, hidden, layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the LSTM: `[B, C, T]` to the same shape."""
        return x + self.lstm(x.transpose(1, 2))[0].transpose(1, 2)


def _lstm(width: int, layers: int, bidirectional: bool) -> nn.Module:
    return ResidualLSTM(width, layers, bidirectional=bidirectional) if layers else nn.Identity()


class BigCodecEncoder(nn.Module):
    """Convolutional encoder: waveforms `[B, 1, T]` to latents `[B, D, T / hop]`."""

    def __init__(self, c: BigCodecConfig) -> None:
        super().__init__()
        width, top = c.encoder_width, c.encoder_width * 2 ** len(c.strides)
        self.stem = nn.Conv1d(1, width, 7, padding=3)
        self.levels = nn.Sequential(
            *(
                DACDown(width * 2**i, width * 2 ** (i + 1), s, dilations=c.dilations, activation=_activation)
                for i, s in enumerate(c.strides)
            )
        )
        self.lstm = _lstm(top, c.encoder_lstm_layers, c.encoder_lstm_bidirectional)
        self.act = _activation(top)
        self.head = nn.Conv1d(top, c.latent_dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: `[B, 1, T]` to `[B, D, T / hop]`."""
        return self.head(self.act(self.lstm(self.levels(self.stem(x)))))


class BigCodecDecoder(nn.Module):
    """Convolutional decoder: latents `[B, D, L]` to waveforms `[B, 1, L * hop]`, in -1..1."""

    def __init__(self, c: BigCodecConfig) -> None:
        super().__init__()
        width, low, dilations = c.decoder_width, c.decoder_width // 2 ** len(c.ups), c.decoder_dilations or c.dilations
        self.stem = nn.Conv1d(c.latent_dim, width, 7, padding=3)
        self.lstm = _lstm(width, c.decoder_lstm_layers, c.decoder_lstm_bidirectional)
        self.levels = nn.Sequential(
            *(
                DACUp(width // 2**i, width // 2 ** (i + 1), s, dilations=dilations, whole=True, activation=_activation)
                for i, s in enumerate(c.ups)
            )
        )
        self.act = _activation(low)
        self.head = nn.Conv1d(low, 1, 7, padding=3)

    def forward(self, z: Tensor) -> Tensor:
        """Decode: `[B, D, L]` to `[B, 1, L * hop]`."""
        return torch.tanh(self.head(self.act(self.levels(self.lstm(self.stem(z))))))


class BigCodec(AudioTokenizer):
    """BigCodec; see the module's docstring. Not causal: the convolutions look ahead."""

    family: ClassVar[str] = "bigcodec"
    config_class: ClassVar[type] = BigCodecConfig

    def __init__(self, config: BigCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = BigCodecEncoder(config)
        self.decoder = BigCodecDecoder(config)
        self.apply(dac_init)
        self.quantizer = config.quantizer.build(dim=config.latent_dim)
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=config.hop_samples,
        )

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples, which gets at least one zero."""
        return samples // self.spec.hop_samples + 1

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, floor(T / hop) + 1]` of `[B, 1, T]`."""
        hop = self.spec.hop_samples
        return self.encoder(F.pad(x, (0, hop - x.shape[-1] % hop)))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        return self.decoder(z_q)
