"""`AudioTokenizer`: intake, ragged batches, long audio and exact lengths for every audio family.

Letters: B batch, C channels, T samples, D latent width, K codebooks, L positions (frames), S loudness segments.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.conv1d import join
from ..kernels.fused import fuse
from ..media import Prepared, Waveform, as_waveform, is_path, resample, to_channels
from ..quantizers.base import Quantizer
from ..spec import AudioSpec
from ..tokenizer import Reconstruction, Tokenizer, group_by_shape
from ..tokens import Tokens


class AudioTokenizer(Tokenizer):
    """Base of the audio families.

    A family writes `encode_latents` (`[B, C, T]`, any T, to `[B, D, ceil(T / hop)]`) and `decode_latents` (back to
    `[B, C, L * hop]`), and sets `context_frames` where long audio may be cut into chunks.
    """

    spec: AudioSpec
    #: True where `encode` takes a speech model's features.
    takes_features: ClassVar[bool] = False
    #: Frames on each side that a frame's id, or a sample's value, depends on; None: on everything (attention, LSTM).
    context_frames: int | None = None
    #: The same of ids alone, in families whose encoder fills the last hop up with zeros: clips of different lengths
    #: may then share a batch (`ragged.py`). None: only clips of one length do.
    encoder_context_frames: int | None = None
    #: Longest piece that goes through the network at once, in frames.
    chunk_frames: int = 3000

    # --- encode ---------------------------------------------------------------------------------------------------

    def prepare(self, media: Any) -> Prepared:
        """One clip read, checked, resampled and mixed for the network, for another thread than the model's.

        `encode` takes lists of these and gives the same ids as for the media; the original's size and rate stand in it.
        """
        clip = as_waveform(media, default_rate_hz=self.spec.sample_rate_hz)
        x = to_channels(resample(clip.samples, clip.sample_rate_hz, self.spec.sample_rate_hz), self.spec.channels)
        return Prepared(x, (clip.samples.shape[-1],), clip.sample_rate_hz)

    @torch.no_grad()
    def encode(self, media: Any, *, num_codebooks: int | None = None, features: Tensor | list[Tensor] | None = None) -> Tokens:
        """Turn audio into tokens.

        Args:
            media: a path; `(waveform, sample_rate)`; a waveform `[T]` or `[C, T]` or batch `[B, C, T]` at
                `spec.sample_rate_hz`; or a list of these, of any lengths and rates. Floats lie in -1..1; int16, int32
                and uint8 PCM are scaled. Other rates are resampled, channels mixed or repeated.
            num_codebooks: stop after this many codebooks, where `spec.prefix` holds "codebooks".
            features: of a frozen speech model, for families that take some (`takes_features`): `[B, C, N]`, or one
                `[C, N]` for each clip. Clips are then taken as they come, at the codec's own rate. Without them the
                family computes its own.

        Returns:
            `Tokens` with ids `[B, K, ceil(T / hop)]`; B is 1 for a single clip.

        Raises:
            ValueError: wrong rank, range or rate, NaN, empty audio; the message says what to do.
        """
        if features is not None and not self.takes_features:
            raise ValueError(f"{self.family} takes no features; leave them out.")
        clips = self._clips(media)
        if features is not None and len(features) != len(clips):
            raise ValueError(f"got {len(features)} features for {len(clips)} clips; give one [C, N] for each clip.")
        rate, channels = self.spec.sample_rate_hz, self.spec.channels
        xs = [to_channels(resample(c.samples, c.sample_rate_hz, rate), channels) for c in clips]
        parts: list[Tokens | None] = [None] * len(xs)
        for group in _groups(xs, features):
            x = torch.stack([xs[i] for i in group]).to(self.device)  # [B, C, T]
            if features is None:
                ids, scale = self.encode_batch(x, num_codebooks)
            else:
                given = torch.stack([features[i] for i in group]).to(self.device)  # [B, C, N]
                ids, scale = self.encode_with_features(x, given, num_codebooks), None
            k = ids.shape[1]
            for row, i in enumerate(group):
                parts[i] = Tokens(
                    ids=ids[row : row + 1].cpu(),
                    vocab_sizes=self.spec.vocab_sizes[:k],
                    sizes=torch.tensor([[clips[i].samples.shape[-1]]]),
                    sample_rate_hz=clips[i].sample_rate_hz,
                    scale=None if scale is None else scale[row : row + 1].float().cpu(),
                    strides=self.spec.strides[:k],
                    names=self.spec.names[:k],
                )
        return Tokens.cat(parts).to(self.device)  # type: ignore[arg-type]

    def encode_batch(self, x: Tensor, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Ids `[B, K, L]` and loudness scales `[B, S]` (or None) of clips of one length, `[B, C, T]`."""
        x, scale = self.normalize(x)
        return self._ids(x, num_codebooks), scale

    def encode_with_features(self, x: Tensor, features: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Ids `[B, K, L]` of clips `[B, C, T]` as they are and a speech model's features `[B, C, N]`."""
        raise NotImplementedError

    def ids_of(self, z: Tensor, samples: int, num_codebooks: int | None = None) -> Tensor:
        """Ids `[B, K, L]` of latents `[B, D, L]` that came from `samples` samples.

        Families override it for another default number of codebooks, or to treat a partly filled last frame apart.
        """
        return self.quantizer.encode(z, num_codebooks=num_codebooks)

    def num_frames(self, samples: int) -> int:
        """L, frames that a clip of `samples` at `spec.sample_rate_hz` gives."""
        return -(-samples // self.spec.hop_samples)

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Bring a batch to the loudness that the network expects; returns it with what undoes that, `[B, S]`."""
        return x, None

    def _clips(self, media: Any) -> list[Waveform]:
        rate = self.spec.sample_rate_hz
        if isinstance(media, Tensor) and media.ndim == 3:
            media = list(media)
        if isinstance(media, list) and not _is_pair(media):
            if not media:
                raise ValueError("encode got an empty list; pass at least one clip.")
            return [as_waveform(m, default_rate_hz=rate, name=f"clip {i}") for i, m in enumerate(media)]
        return [as_waveform(media, default_rate_hz=rate)]

    @property
    def piece_frames(self) -> int:
        """`chunk_frames`, or the next length that the network can be cut at."""
        return self.chunk_frames

    def _ids(self, x: Tensor, num_codebooks: int | None) -> Tensor:
        """Ids `[B, K, L]` of clips `[B, C, T]`; of a long one piece by piece, so that no latents pile up."""
        hop, step = self.spec.hop_samples, _positions_together(self.quantizer)
        if step is None:
            return self.ids_of(self._in_chunks(x), x.shape[-1], num_codebooks)
        ids, done, rest = [], 0, None
        for z in self._latents(x):
            z = z if rest is None else join([rest, z])
            count = z.shape[-1] // step * step
            samples = min(count * hop, x.shape[-1] - done)
            if count:
                ids.append(self.ids_of(z[..., :count], samples, num_codebooks))
            done, rest = done + samples, z[..., count:]
        if rest is not None and rest.shape[-1]:
            ids.append(self.ids_of(rest, x.shape[-1] - done, num_codebooks))
        return torch.cat(ids, dim=-1)

    def _in_chunks(self, x: Tensor) -> Tensor:
        """`encode_latents`, of a long clip in pieces."""
        return join(list(self._latents(x)))

    def _latents(self, x: Tensor) -> Iterator[Tensor]:
        """Latents of `[B, C, T]`, of a long clip in pieces."""
        return self._pieces(x, self.encode_latents)

    def _pieces(self, x: Tensor, encode: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """`encode` of `[B, C, T]` in pieces whose overlap covers the receptive field, so that they equal the whole."""
        hop, context = self.spec.hop_samples, self.context_frames
        frames = -(-x.shape[-1] // hop)
        if context is None or frames <= self.piece_frames + 2 * context:
            yield encode(x)
            return
        for start, stop, left, right in spans(frames, self.piece_frames, context):
            z = encode(x[..., left * hop : right * hop])  # the last piece ends where x ends
            yield z[..., start - left : stop - left]

    # --- decode ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, tokens: Tokens, *, original: bool = True) -> Tensor | list[Tensor]:
        """Turn tokens back into audio.

        Args:
            tokens: what `encode` of this tokenizer gave, or a cut of it that `spec.prefix` allows.
            original: give exactly the original's number of samples at the original's rate; otherwise the codec's own
                rate, `spec.decoded_rate_hz`.

        Returns:
            float32 `[B, C, T]`, or a list of `[C, T]` where the lengths differ. Not clipped.
        """
        self.check_tokens(tokens)
        outs: list[Tensor | None] = [None] * len(tokens)
        items = [tokens[i] for i in range(len(tokens))]
        for group in group_by_shape([t.ids for t in items]):
            ids = torch.cat([items[i].ids for i in group]).to(self.device)
            scale = None if tokens.scale is None else tokens.scale[group].to(self.device)
            x = self.decode_batch(ids, scale)  # [B, C, L * hop]
            for row, i in enumerate(group):
                outs[i] = self._fit(x[row], items[i], original)
        shapes = {o.shape for o in outs}  # type: ignore[union-attr]
        return torch.stack(outs) if len(shapes) == 1 else outs  # type: ignore[arg-type, return-value]

    def decode_batch(self, ids: Tensor, scale: Tensor | None) -> Tensor:
        """Waveforms `[B, C, L * hop]` of ids `[B, K', L]`, loudness restored by `scale` `[B, S]`."""
        step = _positions_together(self.quantizer)
        cuts = (self.piece_frames, self.context_frames or 1)
        if step is None or any(cut % step for cut in cuts):
            x = self._out_chunks(self.quantizer.decode(ids).to(self.dtype))
        else:
            x = join(list(self._waves(ids.shape[-1], lambda a, b: self.quantizer.decode(ids[..., a:b]).to(self.dtype))))
        return x if scale is None else x * scale[:, None, :1]

    def _out_chunks(self, z_q: Tensor) -> Tensor:
        """`decode_latents`, of a long clip in pieces."""
        return join(list(self._waves(z_q.shape[-1], lambda a, b: z_q[..., a:b])))

    def _waves(self, frames: int, latents: Callable[[int, int], Tensor]) -> Iterator[Tensor]:
        """Waveforms of `frames` frames in pieces, as `_latents`; `latents(a, b)` gives those from frame a to b."""
        hop, context = self._hop_out(), self.context_frames
        if context is None or frames <= self.piece_frames + 2 * context:
            yield self.decode_latents(latents(0, frames))
            return
        for start, stop, left, right in spans(frames, self.piece_frames, context):
            y = self.decode_latents(latents(left, right))
            yield y[..., (start - left) * hop : (stop - left) * hop]

    def _hop_out(self) -> int:
        return self.spec.hop_samples * self.spec.decoded_rate_hz // self.spec.sample_rate_hz

    def _fit(self, x: Tensor, tokens: Tokens, original: bool) -> Tensor:
        """Cut one decoded clip `[C, T]` to the original's length, at the original's rate where asked."""
        rate_in, rate_out = tokens.sample_rate_hz or self.spec.decoded_rate_hz, self.spec.decoded_rate_hz
        x = x.float()
        if tokens.sizes is None:
            return x
        size = int(tokens.sizes[0, 0])
        whole = -(-size * self.spec.sample_rate_hz // rate_in)  # samples at the codec's rate
        length = tokens.ids.shape[-1]  # fewer than `whole` fills after first(positions=...)
        kept = whole if length >= self.num_frames(whole) else min(whole, length * self.spec.hop_samples)
        if not original or kept < whole:
            return self.to_length(x, -(-kept * rate_out // self.spec.sample_rate_hz))
        if rate_in == self.spec.sample_rate_hz and rate_out != rate_in:
            # a codec that also changes the rate: its own is meant
            return self.to_length(x, -(-size * rate_out // rate_in))
        x = resample(self.to_length(x, -(-size * rate_out // rate_in)), rate_out, rate_in)
        return to_length(x, size)

    def to_length(self, x: Tensor, length: int) -> Tensor:
        """Cut a waveform `[..., T]` to `length`, or fill it up with zeros where fewer samples came out."""
        return to_length(x, length)

    # --- speed ----------------------------------------------------------------------------------------------------

    def compile(self, **options: Any) -> "AudioTokenizer":  # type: ignore[override]
        """Make encode and decode faster; ids are unchanged.

        Convolutional families on a CPU: every activation becomes one pass over memory (`layers/fused.py`), in some ten
        seconds, whatever the lengths. Others: `torch.compile` of encoder and decoder, for all lengths at once.

        Args:
            options: for `torch.compile`, of the second kind.
        """
        if self.device.type == "cpu" and fuse(self):
            return self
        return super().compile(**({"dynamic": True} | options))  # type: ignore[return-value]

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
    """Positions that take part in each other's ids: 1, or as many as the slowest level repeats; None: all of them."""
    parts = [m for m in quantizer.modules() if isinstance(m, Quantizer)]
    if any(m.needs_grid for m in parts):
        return None
    return math.lcm(*(s for m in parts for s in getattr(m, "strides", ())))


def pad_to_hop(x: Tensor, hop: int) -> Tensor:
    """Zeros on the right of `[B, C, T]` up to a multiple of `hop`."""
    return F.pad(x, (0, -x.shape[-1] % hop))


def to_length(x: Tensor, length: int) -> Tensor:
    """Cut `[..., T]`, or fill it up with zeros on the right."""
    return F.pad(x, (0, max(0, length - x.shape[-1])))[..., :length]


def _groups(xs: list[Tensor], features: Tensor | list[Tensor] | None) -> list[list[int]]:
    """`group_by_shape`, of the features as well."""
    if features is None:
        return group_by_shape(xs)
    return [[a[i] for i in b] for a in group_by_shape(xs) for b in group_by_shape([features[j] for j in a])]


def _is_pair(media: list[Any]) -> bool:
    return len(media) == 2 and isinstance(media[1], int) and not is_path(media[0])


def spans(frames: int, size: int, context: int) -> list[tuple[int, int, int, int]]:
    """(start, stop, left, right) of each piece: `start..stop` is kept of what `left..right` gives."""
    return [(s, min(s + size, frames), max(0, s - context), min(s + size + context, frames)) for s in range(0, frames, size)]
