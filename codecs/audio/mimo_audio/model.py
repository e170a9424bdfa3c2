"""MiMo-Audio-Tokenizer: 24 kHz sound in 20 codebooks at 25 Hz, of which MiMo-Audio's language model takes the first 8.

Xiaomi 2025, technical report of MiMo-Audio. Read from XiaomiMiMo/MiMo-Audio @ 691ce54144, src/mimo_audio_tokenizer/ (Apache-2.0), and
from its use in src/mimo_audio/mimo_audio.py: amplitude mel, pieces of 6000 mel frames (60 s) when encoding, of 1500 ids when decoding.

    clip -> log-mel, 100/s -> convolutions, rotary transformer, 2 frames to one -> residual VQ -> ids
    ids -> vectors -> 2 frames each -> causal transformer -> mel frames -> transformer in windows -> inverse Fourier transform

A clip of T samples has T // 240 + 1 mel frames, thus one id more than T / 960 where that is a whole number. Each piece goes through the
network alone; ids depend neither on other clips of a batch nor on padding.

Differs: clips of 480 samples and less, which cannot be reflected at their ends, are filled up with silence. The authors pack all
clips of a batch into one sequence, in which shorter clips depend on the longest (by what convolutions find behind their ends, and a
norm over all frames, padding included); here each clip is encoded and decoded as if alone. The last piece of a long clip is encoded as
theirs is, beside the longer ones. `decode_stream` is their streamed decoder. Training (10 million hours, semantic and reconstruction
losses together) is not public.

Letters: B batch, T samples, M mel bands, N mel frames, D latent width, K codebooks, L positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...coding import Batch
from ...config import ConfigError
from ...kernels.conv1d import join
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ..own_pieces import OwnPiecesTokenizer
from .parts import AmplitudeMel, MiMoDecoder, MiMoEncoder, RotaryStackConfig
from .streaming import OverlapDecoder

_QUANTIZER = ResidualVQConfig(num_codebooks=20, codebook_size=(1024, 1024, *(128,) * 18), kmeans_iterations=50, commitment_weight=1.0)


@dataclass(frozen=True, kw_only=True)
class MiMoAudioConfig:
    """Settings of `MiMoAudio`; the defaults are those of MiMo-Audio-Tokenizer.

    Attributes:
        sample_rate_hz: of input and output.
        bands: M, mel bands.
        fft_samples, window_samples, hop_samples: of the mel's transform, of its window, and from mel frame to mel frame.
        low_hz, high_hz: edges of the mel bands; `high_hz` 0: half the rate.
        stride: mel frames of one frame of the encoder.
        pool: frames of the encoder of one position.
        encoder: its stack.
        skip: block of it, from 1, whose output is added to the last one's; 0: none.
        quantizer: settings of the quantizer; its `dim` is filled in.
        decoder: the stack in front of the mel frames; of the encoder's width.
        decoder_kernel: kernel of the transposed convolution behind it.
        vocoder: the stack behind the mel frames.
        piece_frames: mel frames that are encoded at once, and decoded; a multiple of `stride * pool`.
    """

    sample_rate_hz: int = 24000
    bands: int = 128
    fft_samples: int = 960
    window_samples: int = 960
    hop_samples: int = 240
    low_hz: float = 0.0
    high_hz: float = 0.0
    stride: int = 2
    pool: int = 2
    encoder: RotaryStackConfig = RotaryStackConfig()
    skip: int = 3
    quantizer: QuantizerConfig = _QUANTIZER
    decoder: RotaryStackConfig = RotaryStackConfig(reach=(-1, 0))
    decoder_kernel: int = 3
    vocoder: RotaryStackConfig = RotaryStackConfig(width=256, heads=16, hidden=1024, layers=16, reach=(40, 10))
    piece_frames: int = 6000

    def __post_init__(self) -> None:
        for name in ("bands", "hop_samples", "stride", "pool", "window_samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.window_samples > self.fft_samples:
            raise ConfigError(f"window_samples is {self.window_samples}, more than the {self.fft_samples} of fft_samples.")
        if self.decoder.width != self.encoder.width:
            raise ConfigError(f"decoder.width is {self.decoder.width}, encoder.width {self.encoder.width}; they must be equal.")
        if not 0 <= self.skip <= self.encoder.layers:
            raise ConfigError(f"skip is {self.skip}; the encoder has {self.encoder.layers} layers (0: none).")
        if self.decoder_kernel < self.stride:
            raise ConfigError(f"decoder_kernel is {self.decoder_kernel}; at a stride of {self.stride} frames would be missing.")
        if self.piece_frames < 1 or self.piece_frames % (self.stride * self.pool):
            raise ConfigError(f"piece_frames is {self.piece_frames}; it must be a multiple of {self.stride * self.pool}, one id.")
        if not 0 <= self.low_hz < (self.high_hz or self.sample_rate_hz / 2) <= self.sample_rate_hz / 2:
            raise ConfigError(
                f"low_hz is {self.low_hz:g} and high_hz {self.high_hz:g}; the bands lie in 0..{self.sample_rate_hz / 2:g} Hz."
            )


class MiMoAudio(OwnPiecesTokenizer):
    """MiMo-Audio-Tokenizer; see the module's docstring."""

    family: ClassVar[str] = "mimo_audio"
    config_class: ClassVar[type] = MiMoAudioConfig
    config: MiMoAudioConfig

    def __init__(self, config: MiMoAudioConfig) -> None:
        super().__init__()
        self.config = c = config
        self.mel = AmplitudeMel(
            c.bands,
            sample_rate_hz=c.sample_rate_hz,
            fft_samples=c.fft_samples,
            window_samples=c.window_samples,
            hop_samples=c.hop_samples,
            low_hz=c.low_hz,
            high_hz=c.high_hz or c.sample_rate_hz / 2,
        )
        self.encoder = MiMoEncoder(c.encoder, bands=c.bands, stride=c.stride, pool=c.pool, skip=c.skip)
        self.quantizer = c.quantizer.build(dim=c.encoder.width)
        self.decoder = MiMoDecoder(
            c.decoder,
            c.vocoder,
            bands=c.bands,
            stride=c.stride,
            kernel=c.decoder_kernel,
            pool=c.pool,
            fft_samples=c.fft_samples,
            hop_samples=c.hop_samples,
        )
        self.spec = AudioSpec.of(self.quantizer, sample_rate_hz=c.sample_rate_hz, hop_samples=c.hop_samples * c.stride * c.pool)

    def num_frames(self, samples: int) -> int:
        """L, the number of ids of a clip of `samples` samples."""
        c, frames = self.config, self.mel.frames(samples)
        return -(-frames // (c.stride * c.pool))  # pieces are whole ids

    def own_pieces(self, x: Tensor, batch: Batch | None = None) -> Iterator[Tensor]:
        """Latents of clips `[B, 1, T]`, in pieces `[B, D, l]` of `piece_frames` mel frames."""
        frames, size, whole = self.mel.frames(x.shape[-1]), self.config.piece_frames, self.mel.reflected(x[:, 0])
        for start in range(0, frames, size):
            mel = self.mel(whole, start, min(start + size, frames)).to(self.dtype)
            yield self.encoder(mel, beside_longer=frames - start < size < frames)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Waveforms `[B, 1, L * hop]` of ids `[B, K', L]`, decoded piece by piece."""
        return self.decode_latents(self.vectors_of(ids))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        size = self.config.piece_frames // (self.config.stride * self.config.pool)
        return join([self.decoder(piece) for piece in z_q.split(size, dim=-1)])

    def decode_stream(self, *, left: int = 250, right: int = 40) -> OverlapDecoder:
        """A decoder of ids that come in parts: each part is decoded again with what came before; see `OverlapDecoder`.

        Args:
            left: ids that are kept to be decoded again.
            right: ids whose sound waits for later ones.
        """
        return OverlapDecoder(self, self.decoder, left=left, right=right)
