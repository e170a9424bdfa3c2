"""EnCodec: SEANet with an LSTM and residual vector quantization, causal and mono or stereo in overlapping segments.

Défossez et al. 2022, "High Fidelity Neural Audio Compression", arXiv 2210.13438. Parity was checked against
facebookresearch/encodec @ 0e2d0ae (MIT), facebookresearch/audiocraft @ 896ec7c (code MIT, weights CC-BY-NC-4.0; zero padding,
identity skips) and transformers 5.23 (Apache-2.0).

SEANet (strided convolutions and an LSTM) encodes `[B, C, T]` to latents `[B, D, L]`, one for every hop of 320 samples: 75 a
second at 24 kHz. Each level of the residual quantizer encodes the error of the levels before it: ids `[B, K, L]`. The decoder
mirrors the encoder and returns `[B, C, L * hop]`.

Segments (48 kHz): a clip is cut into segments of `segment_seconds`, each of which overlaps the one before by the share
`segment_overlap`. Every segment is divided by its RMS and encoded alone. The ids are the segments' frames one after the other;
`Tokens.scale` holds the RMS of each. Decoding cross-fades the segments.

Letters: B batch, C channels, T samples, D latent width, K codebooks, L positions (frames), S segments.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...coding import Batch
from ...layers.causal import State
from ...layers.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder, stream_latency
from ...precision import widened
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..bandwidth import codebooks_within
from ..base import AudioTokenizer
from ..start import LEVEL, start_sound
from ..stream import Streamable


@dataclass(frozen=True, kw_only=True)
class EncodecConfig:
    """Settings of `Encodec`; the defaults are the 24 kHz model's.

    Attributes:
        sample_rate_hz: rate of the waveform.
        encoder: settings of the SEANet encoder; the decoder must have the same `latent_dim`, `channels`, `causal` and hop.
        decoder: settings of the SEANet decoder; None: those of the encoder, with a one-directional LSTM.
        quantizer: settings of any quantizer; its `dim` is filled in. Published: residual, Euclidean distance, EMA updates.
        bandwidths_kbps: the operating points that the model was trained for; see `num_codebooks_for`.
        normalize: divide every segment (or clip) by the RMS of its mono mix, kept in `Tokens.scale`. Such a model does not stream.
        segment_seconds: cut clips into segments of this length; None: no segments.
        segment_overlap: share of a segment, 0 to below 1, that the next one repeats.
    """

    sample_rate_hz: int = 24000
    encoder: SEANetConfig = SEANetConfig(causal=True)
    decoder: SEANetConfig | None = None
    quantizer: QuantizerConfig = ResidualVQConfig(num_codebooks=32, kmeans_iterations=50, commitment_weight=1.0, dropout=1.0)
    bandwidths_kbps: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0)
    normalize: bool = False
    segment_seconds: float | None = None
    segment_overlap: float = 0.01

    def __post_init__(self) -> None:
        a, b = self.encoder, self.decoder or self.encoder
        if (a.channels, a.latent_dim, a.hop_samples, a.causal) != (b.channels, b.latent_dim, b.hop_samples, b.causal):
            raise ValueError("encoder and decoder must agree in channels, latent_dim, causal and the hop.")
        if not 0 <= self.segment_overlap < 1:
            raise ValueError(f"segment_overlap is {self.segment_overlap}; it is a share, 0 to below 1.")
        if self.segment_samples is not None and self.segment_samples < 1:
            raise ValueError(f"segment_seconds is {self.segment_seconds}; a segment must have at least one sample.")

    @property
    def segment_samples(self) -> int | None:
        """Samples of a full segment; None: clips are not cut into segments."""
        return None if self.segment_seconds is None else int(self.segment_seconds * self.sample_rate_hz)

    @property
    def segment_step(self) -> int | None:
        """Samples from the start of one segment to the start of the next; None: clips are not cut into segments."""
        size = self.segment_samples
        return None if size is None else max(1, int((1 - self.segment_overlap) * size))


class Encodec(Streamable, AudioTokenizer):
    """EnCodec; see the module's docstring. The first k codebooks alone can be decoded; `encode(num_codebooks=k)` sets the bit rate."""

    family: ClassVar[str] = "encodec"
    config_class: ClassVar[type] = EncodecConfig
    pad_rest = False  # the layers pad a partial last window themselves

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.config = config
        c, hop = config.encoder, config.encoder.hop_samples
        self.encoder = SEANetEncoder(c)
        self.quantizer = config.quantizer.build(dim=c.latent_dim)
        self.decoder = SEANetDecoder(config.decoder or dataclasses.replace(c, lstm_bidirectional=False))
        start_sound(self.encoder, self.decoder, level=1.0 if config.normalize else LEVEL)
        self.holds_back = c.padding == "reflect"
        whole = not config.normalize and config.segment_seconds is None
        streams = whole and c.streamable and (config.decoder or c).streamable
        self.spec = AudioSpec.of(
            self.quantizer,
            channels=c.channels,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=hop,
            causal=streams,
            latency_samples=stream_latency(self.encoder, self.decoder, hop) if streams else 0,
        )

    def num_codebooks_for(self, bandwidth_kbps: float) -> int:
        """Number of codebooks that fit into `bandwidth_kbps` (kbit/s), at least 1; for `encode(x, num_codebooks=...)`.

        Raises:
            ValueError: a bandwidth that the model was not trained for.
        """
        return codebooks_within(self.spec, bandwidth_kbps, self.config.bandwidths_kbps)

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of samples `[B, C, T]` whose loudness is already normalised."""
        return self.encoder(x, state)

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`."""
        return self.decoder(z_q, state)

    # --- segments ---------------------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of all segments of a clip of `samples` samples."""
        return sum(self._frames(samples))

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Divide clips `[B, C, T]` by the RMS of their mono mix; returns them with the RMS of each segment, `[B, S]`.

        Where clips are cut into segments, they are returned unchanged, and `latents_of` divides each segment by its own RMS.
        """
        if not self.config.normalize:
            return x, None
        if self.config.segment_step is None:
            return _one_loudness(x)
        return x, torch.cat([_one_loudness(part)[1] for part in self._segments(x)], dim=-1)

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, D, L]` of all segments of clips `[B, C, T]`; without segments, of one piece of a clip."""
        return self.encode_latents(x) if self.config.segment_step is None else self.encode_segments(x)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Waveforms of ids `[B, K', L]`: `[B, C, L * hop]`, or less where segments overlap."""
        if self.config.segment_step is None:
            return super().media_of(ids, batch)
        return self._decode_segments(self.vectors_of(ids), batch.scale)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, C, T]` with gradients, segment by segment as in `encode`."""
        if self.config.segment_step is None:
            return super().forward(x)
        y, scale = self.normalize(x)
        z = self.encode_segments(y)
        quantized = self.quantizer(z)
        x_hat = self._decode_segments(quantized.z_q, scale)[..., : x.shape[-1]]
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized)

    def _segments(self, x: Tensor) -> list[Tensor]:
        """The segments of clips `[B, C, T]`, the last ones shorter."""
        step, size = self.config.segment_step or x.shape[-1], self.config.segment_samples or x.shape[-1]
        return [x[..., start : start + size] for start in range(0, x.shape[-1], step)]

    def encode_segments(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of all segments of `[B, C, T]`, each divided by its own loudness."""
        parts = self._segments(x)
        return torch.cat([self.encode_latents(_one_loudness(p)[0] if self.config.normalize else p) for p in parts], dim=-1)

    def _decode_segments(self, z_q: Tensor, scale: Tensor | None) -> Tensor:
        """Waveforms of latents `[B, D, L]` of all segments, loudness restored, cross-faded."""
        assert self.config.segment_step is not None
        pieces, frames = [], self._split(z_q.shape[-1])
        if scale is not None and scale.shape[1] < len(frames):
            raise ValueError(f"the tokens have loudness factors for {scale.shape[1]} segments, and frames of {len(frames)}.")
        for i, part in enumerate(z_q.split(frames, dim=-1)):
            x = self.decode_latents(part)
            pieces.append(x if scale is None else x * scale[:, None, i : i + 1])
        return cross_fade(pieces, self.config.segment_step)

    def _frames(self, samples: int) -> list[int]:
        """Frames of each segment of a clip of `samples`."""
        step, size, hop = self.config.segment_step, self.config.segment_samples, self.spec.hop_samples
        if step is None or size is None:
            return [-(-samples // hop)]
        return [-(-min(size, samples - start) // hop) for start in range(0, samples, step)]

    def _split(self, length: int) -> list[int]:
        """Frames of each segment where there are `length` in all.

        More samples never give fewer frames to any segment, so equal sums mean equal frames: `length` determines them.
        """
        low, high = 1, max(1, length) * self.spec.hop_samples + 1
        while low < high:  # find the shortest clip with at least `length` frames
            middle = (low + high) // 2
            low, high = (low, middle) if self.num_frames(middle) >= length else (middle + 1, high)
        frames = self._frames(low)
        if sum(frames) != length:
            raise ValueError(f"no clip gives {length} frames in segments: decode all frames that `encode` gave.")
        return frames


def _one_loudness(x: Tensor) -> tuple[Tensor, Tensor]:
    """`[B, C, T]` divided by the RMS of its mono mix, and the RMS `[B, 1]`."""
    rms = widened(x).mean(dim=1, keepdim=True).square().mean(dim=2, keepdim=True).sqrt() + 1e-8
    return (x / rms).to(x.dtype), rms[:, :, 0]


def cross_fade(pieces: list[Tensor], step: int) -> Tensor:
    """Add pieces `[B, C, t]` that start `step` apart, weighted by one triangle over the first one's length.

    Where there is only one piece, its weight cancels out; where two overlap, the weights change linearly from one to the other.
    """
    size = pieces[0].shape[-1]
    # Rarely the last piece ends before the one before it does.
    total = max(i * step + piece.shape[-1] for i, piece in enumerate(pieces))
    ramp = torch.linspace(0, 1, size + 2, device=pieces[0].device, dtype=pieces[0].dtype)[1:-1]
    triangle = 0.5 - (ramp - 0.5).abs()  # [size]
    out, weights = pieces[0].new_zeros(*pieces[0].shape[:-1], total), pieces[0].new_zeros(total)
    for i, piece in enumerate(pieces):
        place = slice(i * step, i * step + piece.shape[-1])
        out[..., place] += triangle[: piece.shape[-1]] * piece
        weights[place] += triangle[: piece.shape[-1]]
    return out / weights
