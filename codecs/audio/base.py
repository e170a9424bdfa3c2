"""`AudioTokenizer`: intake, long audio and exact lengths for every audio family.

Letters: B batch, C channels, T samples, D latent width, K codebooks, L positions (frames), S loudness segments.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..coding import Batch, Coded
from ..kernels.conv1d import join
from ..kernels.fused import fuse
from ..media import Prepared, as_waveforms, resample, to_channels
from ..pieces import Span, along, plan
from ..quantizers.base import Quantizer
from ..spec import AudioSpec
from ..tokenizer import Reconstruction, Tokenizer
from ..tokens import Tokens


class AudioTokenizer(Tokenizer):
    """Base class of all audio tokenizers.

    A family writes `encode_latents` (`[B, C, T]`, any T, to `[B, D, ceil(T / hop)]`) and `decode_latents` (back to
    `[B, C, L * hop]`), and sets `context_frames` where long audio may be cut into pieces. It may override the hooks of `coding.py`,
    and also `normalize` (loudness), `fill` and `num_frames` (padding of a partial last frame), `hop_out_samples` and `to_length`
    (length of the output).
    """

    spec: AudioSpec
    #: Frames on each side that a frame's id, or a sample's value, depends on; None: it depends on the whole clip (attention, LSTM).
    context_frames: int | None = None
    #: As `context_frames`, but for ids only, in families whose encoder pads the last hop with zeros: clips of different
    #: lengths may then share a batch (`ragged.py`). None: only clips of equal length may share one.
    encoder_context_frames: int | None = None
    #: Frames processed at once, context not counted; None: always the whole clip.
    piece_positions: int | None = 3000
    #: Pieces begin at multiples of this many frames.
    piece_multiple: int = 1

    # --- encode ---------------------------------------------------------------------------------------------------

    def prepare_media(self, media: Any, options: Any) -> list[Prepared]:
        """Waveforms `[C, T]` at the network's sampling rate and with its number of channels, from clips of any kind.

        Args:
            media: a path; `(waveform, sample_rate)`; a waveform `[T]` or `[C, T]` or batch `[B, C, T]` at
                `spec.sample_rate_hz`; or a list of these, of any lengths and rates. Floats lie in -1..1; int16, int32
                and uint8 PCM are scaled. Other rates are resampled, channels mixed or repeated.
            options: not used.

        Raises:
            MediaError: wrong rank, range or rate, NaN, empty audio.
        """
        rate, channels = self.spec.sample_rate_hz, self.spec.channels
        items = []
        for clip in as_waveforms(media, default_rate_hz=rate, channels=channels):
            x = to_channels(resample(clip.samples, clip.sample_rate_hz, rate), channels)
            items.append(Prepared(x, (clip.samples.shape[-1],), clip.sample_rate_hz))
        return items

    def encode_batch(self, x: Tensor, batch: Batch) -> Coded:
        """Ids `[B, K, L]` of clips `[B, C, T]`; long clips are encoded piece by piece, so that memory does not grow with length."""
        y, scale = self.normalize(x)
        return self._coded(self.latent_pieces(y, batch), y.shape[-1], batch)._replace(scale=scale)

    def _coded(self, pieces: Iterator[Tensor], samples: int, batch: Batch) -> Coded:
        """Ids `[B, K, L]` of clips of `samples` samples, from their latents in pieces `[B, D, l]`."""
        hop, step = self.spec.hop_samples, _positions_together(self.quantizer)
        if step is None:
            return self.ids_of(join(list(pieces)), dataclasses.replace(batch, samples=samples))
        ids, done, rest = [], 0, None
        for z in pieces:
            z = z if rest is None else join([rest, z])
            count = z.shape[-1] // step * step
            covered = min(count * hop, samples - done)
            if count:
                ids.append(self.ids_of(z[..., :count], dataclasses.replace(batch, samples=covered)).ids)
            done, rest = done + covered, z[..., count:]
        if rest is not None and rest.shape[-1]:
            ids.append(self.ids_of(rest, dataclasses.replace(batch, samples=samples - done)).ids)
        return Coded(torch.cat(ids, dim=-1))

    def latent_pieces(self, x: Tensor, batch: Batch) -> Iterator[Tensor]:
        """Latents of clips `[B, C, T]`, yielded in pieces `[B, D, l]`; joined, they equal the latents of the whole clips."""
        x, hop = self.fill(x), self.spec.hop_samples
        pieces = self._plan(-(-x.shape[-1] // hop))
        # the last piece ends where x ends
        return along(pieces, lambda a, b: x[..., a * hop : b * hop], self._encoder_of(len(pieces), batch))

    def _encoder_of(self, pieces: int, batch: Batch) -> Callable[[Tensor], Tensor]:
        """The function applied to each of the given number of pieces, in order."""
        return lambda part: self.latents_of(part, batch)

    def _plan(self, frames: int) -> list[Span]:
        return plan(frames, self.piece_positions, self.context_frames, multiple=self.piece_multiple)

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples at `spec.sample_rate_hz`."""
        return -(-samples // self.spec.hop_samples)

    def fill(self, x: Tensor) -> Tensor:
        """Pad clips `[B, C, T]` to a length that `latents_of` takes; called before a clip is cut into pieces."""
        return x

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Bring a batch to the loudness that the network expects; returns it with the factors `[B, S]` that undo this."""
        return x, None

    def layout_of(self, codebooks: int, grid: tuple[int, ...] | None) -> dict[str, Any]:
        """Fields of `Tokens` that describe the layout: `strides`, the number of positions that share an id, for each codebook."""
        return {"strides": self.spec.strides[:codebooks]}

    # --- decode ---------------------------------------------------------------------------------------------------

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Waveforms `[B, C, L * hop]` of ids `[B, K', L]`, loudness restored; a long clip is decoded piece by piece."""
        step, frames = _positions_together(self.quantizer), ids.shape[-1]
        pieces = self._plan(frames)
        if step is None or any(p.left % step for p in pieces):
            z_q = self.vectors_of(ids)
            waves = self.wave_pieces(pieces, lambda a, b: z_q[..., a:b])
        else:
            waves = self.wave_pieces(pieces, lambda a, b: self.vectors_of(ids[..., a:b]))
        x = join(list(waves))
        return x if batch.scale is None else x * batch.scale[:, None, :1]

    def wave_pieces(self, pieces: list[Span], latents: Callable[[int, int], Tensor]) -> Iterator[Tensor]:
        """Waveforms of `pieces`, which joined equal the whole clip; `latents(a, b)` returns the latents of frames a to b."""
        return along(pieces, latents, self._decoder_of(len(pieces)), self.hop_out_samples)

    def _decoder_of(self, pieces: int) -> Callable[[Tensor], Tensor]:
        """The function applied to each of the given number of pieces, in order."""
        return self.decode_latents

    @property
    def hop_out_samples(self) -> int:
        """Output samples of the decoder for each frame."""
        return self.spec.hop_samples * self.spec.decoded_rate_hz // self.spec.sample_rate_hz

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """Cut one decoded clip `[C, T]` to the original's length, at the original's rate.

        `original=False` gives the codec's own rate, `spec.decoded_rate_hz`. Fewer positions than the clip had decode to a shorter
        clip.
        """
        rate, rate_out = self.spec.sample_rate_hz, self.spec.decoded_rate_hz
        if item.sizes is None:
            return x
        rate_in, size, kept = self._rate_in(item), int(item.sizes[0, 0]), self._kept(item)
        if kept is not None or not options.original:
            whole = -(-size * rate // rate_in) if kept is None else kept
            return self.to_length(x, -(-whole * rate_out // rate))
        x = self.to_length(x, -(-size * rate_out // rate_in))
        return x if self.rate_of(item) == rate_out else to_length(resample(x, rate_out, rate_in), size)

    def rate_of(self, item: Tokens, *, original: bool = True) -> int:
        """Rate in Hz of the waveform that `decode` returns for one item: that of the original clip, or the codec's own."""
        rate_in, rate_out = self._rate_in(item), self.spec.decoded_rate_hz
        # a codec that changes the rate itself: decode to the codec's output rate
        changed = rate_in == self.spec.sample_rate_hz
        return rate_out if changed or not original or item.sizes is None or self._kept(item) is not None else rate_in

    def frames_of(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Frames `[B]` that the first `lengths` `[B]` positions of ids `[B, K, L]` stand for: one each, unless ids hold durations."""
        return lengths

    def _rate_in(self, item: Tokens) -> int:
        """Sampling rate in Hz at which an item's size was counted."""
        return self.spec.decoded_rate_hz if item.sample_rate_hz is None else int(item.sample_rate_hz[0])

    def _kept(self, item: Tokens) -> int | None:
        """Samples, at the codec's rate, that remain of an item after `first(positions=...)`; None: the item is complete."""
        assert item.sizes is not None
        whole = -(-int(item.sizes[0, 0]) * self.spec.sample_rate_hz // self._rate_in(item))
        left = item.ids.shape[-1] * self.spec.hop_samples
        return left if item.ids.shape[-1] < self.num_frames(whole) and left < whole else None

    def to_length(self, x: Tensor, length: int) -> Tensor:
        """Cut a waveform `[..., T]` to `length`, or fill it up with zeros where fewer samples came out."""
        return to_length(x, length)

    # --- speed ----------------------------------------------------------------------------------------------------

    def compile(self, **options: Any) -> Self:
        """Make encode and decode faster; ids are unchanged.

        Convolutional families on a CPU: every activation becomes one pass over memory (`kernels/fused.py`); this takes about ten
        seconds, once for all clip lengths. Others: `torch.compile` of encoder and decoder, with dynamic shapes.

        Args:
            options: passed on to `torch.compile` where that is used.
        """
        if self.device.type == "cpu" and fuse(self):
            return self
        return super().compile(**({"dynamic": True} | options))

    # --- training -------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, C, T]` with gradients; loudness is normalised and restored as in `encode`."""
        y, scale = self.normalize(x)
        z = self.encode_latents(y)
        quantized = self.quantizer(z)
        length = -(-x.shape[-1] * self.spec.decoded_rate_hz // self.spec.sample_rate_hz)
        x_hat = self.to_length(self.decode_latents(quantized.z_q), length)
        x_hat = x_hat if scale is None else x_hat * scale[:, None, :1]
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized)


def _positions_together(quantizer: Quantizer) -> int | None:
    """Neighbouring positions whose ids depend on each other: 1, or the common multiple of the levels' strides; None: all positions."""
    parts = [m for m in quantizer.modules() if isinstance(m, Quantizer)]
    if any(m.needs_grid for m in parts):
        return None
    return math.lcm(*(s for m in parts for s in getattr(m, "strides", ())))


def pad_to_hop(x: Tensor, hop: int) -> Tensor:
    """Pad `[B, C, T]` with zeros on the right to a multiple of `hop` samples."""
    return F.pad(x, (0, -x.shape[-1] % hop))


def to_length(x: Tensor, length: int) -> Tensor:
    """Cut `[..., T]` to `length`, or pad it with zeros on the right."""
    return F.pad(x, (0, max(0, length - x.shape[-1])))[..., :length]
