"""Streaming for causal audio families: push samples or tokens of any size, get what is ready.

Letters: B batch, C channels, T samples, K codebooks, L frames, D latent width.
"""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..coding import Batch
from ..layers.causal import State
from ..media import Prepared
from ..options import EncodeOptions
from ..pieces import Span, plan
from ..tokens import Tokens
from .base import AudioTokenizer, pad_to_hop


class AudioStream:
    """The state of one stream, for encoding, decoding, or both; make it with `tokenizer.stream()`.

    All ids that `push` and `flush` of the encoding side return, joined, equal `tokenizer.encode` of the whole; all
    samples that `decode` returns, joined, equal `tokenizer.decode` of all tokens before the final cut to length.
    """

    def __init__(
        self,
        tokenizer: AudioTokenizer,
        *,
        encode: Callable[[Tensor, State], Tensor],
        decode: Callable[[Tensor, State], Tensor],
        num_codebooks: int | None = None,
        pad_rest: bool = True,
        holds_back: bool = False,
        group_frames: int = 1,
        state_class: type[State] = State,
    ) -> None:
        """Args:
        tokenizer: the tokenizer that encodes and decodes.
        encode, decode: samples to latents and back, continuing where the state ends.
        num_codebooks: as in `tokenizer.encode`.
        pad_rest: pad the last frame with zeros before `encode`; otherwise `encode` gets the remaining samples.
        holds_back: layers delay some frames until `state.ending` is set (padding by reflection).
        group_frames: frames that the layers take together, looking ahead within; only the last piece may be shorter.
        state_class: kind of dictionary that holds what the layers remember.
        """
        if not tokenizer.spec.streamable:
            raise ValueError(
                f"this {tokenizer.family} tokenizer looks ahead and cannot stream; use one with spec.causal, or encode whole clips."
            )
        self.tokenizer = tokenizer
        self._maker = tokenizer.identity  # computed once, not for every frame
        self._encode, self._decode = encode, decode
        self._options = EncodeOptions(num_codebooks=num_codebooks)
        self._pad_rest, self._holds_back = pad_rest, holds_back
        self._piece_frames = group_frames
        self._encode_state = state_class()
        self._decode_state = state_class()
        self._rest: Tensor | None = None  # samples that do not fill a piece yet
        self._rest_ids: Tensor | None = None  # ids likewise
        self._samples = self._given = 0  # pushed so far, and covered by the frames given so far

    @torch.no_grad()
    def push(self, samples: Tensor) -> Tokens | None:
        """Add samples `[B, C, T]` (also `[C, T]` or `[T]`) at `spec.sample_rate_hz`; return the new frames, if any."""
        x = samples[(None,) * (3 - samples.ndim)] if samples.ndim < 3 else samples
        if x.ndim != 3 or x.shape[1] != self.tokenizer.spec.channels:
            raise ValueError(f"push takes [B, {self.tokenizer.spec.channels}, T], got {list(samples.shape)}.")
        self._samples += x.shape[-1]
        x = x.to(self.tokenizer.device, self.tokenizer.dtype)
        x = x if self._rest is None else torch.cat([self._rest, x], dim=-1)
        whole = x.shape[-1] - x.shape[-1] % (self.tokenizer.spec.hop_samples * self._piece_frames)
        self._rest = x[..., whole:]
        return self._frames(x[..., :whole]) if whole else None

    @torch.no_grad()
    def flush(self) -> Tokens | None:
        """End the encoding side: return the delayed frames and the last frame, padded as in `encode`."""
        rest, self._rest = self._rest, None
        if rest is None or (rest.shape[-1] == 0 and not self._holds_back):
            return None
        self._encode_state.ending = True
        return self._frames(pad_to_hop(rest, self.tokenizer.spec.hop_samples) if self._pad_rest else rest)

    def _frames(self, x: Tensor) -> Tokens | None:
        spec = self.tokenizer.spec
        z = self._encode(x, self._encode_state)
        if z.shape[-1] == 0:
            return None
        samples = min(z.shape[-1] * spec.hop_samples, self._samples - self._given)
        self._given += samples
        batch = Batch(options=self._options, items=range(len(z)), total=len(z), samples=samples)
        made = [Prepared(part, (samples,), spec.sample_rate_hz) for part in x]
        return self.tokenizer.tokens_of_batch(self.tokenizer.ids_of(z, batch), made, batch).made_by(self._maker)

    @torch.no_grad()
    def decode(self, tokens: Tokens, *, last: bool = False) -> Tensor:
        """Samples, float32 `[B, C, L * hop]`, of the next frames.

        At the start a codec with delay returns fewer samples, and one that processes several frames together waits for them;
        `last` marks the end of the stream. It is only needed for a stream too short to have started, or for an incomplete
        last piece.
        """
        tokens = self.tokenizer.check_tokens(tokens)
        ids = tokens.ids.to(self.tokenizer.device)
        ids = ids if self._rest_ids is None else torch.cat([self._rest_ids, ids], dim=-1)
        whole = ids.shape[-1] if last else ids.shape[-1] - ids.shape[-1] % self._piece_frames
        ids, self._rest_ids = ids[..., :whole], ids[..., whole:]
        if whole == 0:
            return torch.zeros(len(ids), self.tokenizer.spec.channels, 0, device=ids.device, dtype=torch.float32)
        self._decode_state.ending = last
        z_q = self.tokenizer.quantizer.decode(ids).to(self.tokenizer.dtype)
        return self._decode(z_q, self._decode_state).float()


# For type checkers the mix-in derives from the audio base class; at run time it does not.
_Base = AudioTokenizer if TYPE_CHECKING else object


class Streamable(_Base):
    """Mix-in of causal families; comes before `AudioTokenizer` in the list of bases.

    A family writes `encode_piece` and `decode_piece`; whole clips, streams and long audio (in pieces of `piece_positions`
    with the state carried over, so memory does not grow) all run through these two methods.
    """

    #: False where `encode_piece` itself fills up a last frame that is not full.
    pad_rest = True
    #: True where layers wait for samples after the start of a stream (padding by reflection).
    holds_back = False
    #: Frames that the layers take together; see `AudioStream`.
    group_frames = 1

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents `[B, D, L]` of samples `[B, C, T]`, continuing where `state` ends."""
        raise NotImplementedError

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform of latents `[B, D, L]`, continuing where `state` ends."""
        raise NotImplementedError

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of `[B, C, T]`."""
        return self.encode_piece(self.fill(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`."""
        return self.decode_piece(z_q)

    def stream(self, *, num_codebooks: int | None = None, state_class: type[State] = State) -> AudioStream:
        """A stream whose pieces, put together, equal the whole; only where `spec.causal`.

        Args:
            num_codebooks: as in `encode`.
            state_class: `RingState` streams through ring buffers, as the authors of Mimi and MOSS do.
        """
        return AudioStream(
            self,
            encode=self.encode_piece,
            decode=self.decode_piece,
            num_codebooks=num_codebooks,
            pad_rest=self.pad_rest,
            holds_back=self.holds_back,
            group_frames=self.group_frames,
            state_class=state_class,
        )

    def fill(self, x: Tensor) -> Tensor:
        """A clip `[B, C, T]` with its last frame filled up, where `encode_piece` does not do that."""
        return pad_to_hop(x, self.spec.hop_samples) if self.pad_rest else x

    def _plan(self, frames: int) -> list[Span]:
        context = 0 if self.spec.streamable else None  # either the state is carried over, or every frame depends on the whole clip
        return plan(frames, self.piece_positions, context, multiple=self.group_frames)

    def _encoder_of(self, pieces: int, batch: Batch) -> Callable[[Tensor], Tensor]:
        return super()._encoder_of(pieces, batch) if pieces == 1 else _with_state(self.encode_piece, pieces)

    def _decoder_of(self, pieces: int) -> Callable[[Tensor], Tensor]:
        return super()._decoder_of(pieces) if pieces == 1 else _with_state(self.decode_piece, pieces)


def _with_state(piece: Callable[[Tensor, State], Tensor], count: int) -> Callable[[Tensor], Tensor]:
    """`piece` for `count` parts in order, through one state."""
    state, numbers = State(), itertools.count(1)

    def run(part: Tensor) -> Tensor:
        state.ending = next(numbers) == count
        return piece(part, state)

    return run
