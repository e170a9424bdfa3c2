"""Streaming for causal audio families: push samples or tokens of any size, get what is ready.

Letters: B batch, C channels, T samples, K codebooks, L frames, D latent width.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..coding import Batch, one_batch
from ..layers.causal import State
from ..media import Prepared
from ..options import EncodeOptions
from ..pieces import Span, plan
from ..tokens import Tokens
from .base import AudioTokenizer, pad_to_hop
from .lanes import Lane, Lanes, Rows, rows_of


class AudioStream:
    """The state of one stream, for encoding, decoding, or both; make it with `tokenizer.stream()`.

    All ids that `push` and `flush` of the encoding side return, joined, equal `tokenizer.encode` of the whole; all
    samples that `decode` returns, joined, equal `tokenizer.decode` of all tokens before the final cut to length. A batch of rows
    streams together; each row may pause, end and begin anew on its own (`active`, `reset`), as the clients of a server do.
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
        group_frames: frames that are processed as one group, inside which layers may look ahead; only the last group may be shorter.
        state_class: class of the dictionary that holds the layers' states.
        """
        if not tokenizer.spec.streamable:
            raise ValueError(
                f"this {tokenizer.family} tokenizer looks ahead and cannot stream; use one with spec.causal, or encode whole clips."
            )
        self.tokenizer = tokenizer
        self._maker = tokenizer.identity  # computed once, not for every frame
        self.encode_piece, self.decode_piece = encode, decode
        self._options = EncodeOptions(num_codebooks=num_codebooks)
        self._pad_rest, self.holds_back = pad_rest, holds_back
        self._piece_frames = group_frames
        self._encoders, self._decoders = Lanes(state_class), Lanes(state_class)

    @torch.no_grad()
    def push(self, samples: Tensor, *, active: Rows | None = None) -> Tokens | None:
        """Add samples and return the frames now complete, or None.

        Args:
            samples: `[B, C, T]` (also `[C, T]` or `[T]`) at `spec.sample_rate_hz`; B is the same in all calls.
            active: bool `[B]`: rows that get their samples; the others pause, and theirs are left out. None: all.

        Returns:
            Tokens of B rows; where rows have paused, or began later, `lengths` tells them apart and may be 0.

        Raises:
            ValueError: samples of another shape, or another number of rows than before.
        """
        x = samples[(None,) * (3 - samples.ndim)] if samples.ndim < 3 else samples
        if x.ndim != 3 or x.shape[1] != self.tokenizer.spec.channels:
            raise ValueError(f"push takes [B, {self.tokenizer.spec.channels}, T], got {list(samples.shape)}.")
        x = x.to(self.tokenizer.device, self.tokenizer.dtype)
        self._encoders.open(len(x), "push")
        chosen = rows_of(active, len(x))
        made = []
        for lane in self._encoders.split(chosen):
            if chosen[lane.rows[0]]:
                lane.pending += x.shape[-1]
                own = x if len(lane.rows) == len(x) else x[lane.rows]
                part = lane.take(own, self.tokenizer.spec.hop_samples * self._piece_frames)
                made.append((lane.rows, self._frames(part, lane) if part.shape[-1] else None))
        self._encoders.merge()
        return self._tokens(made)

    @torch.no_grad()
    def flush(self, *, active: Rows | None = None) -> Tokens | None:
        """End the encoding side: return the delayed frames and the last frame, padded as in `encode`.

        Args:
            active: bool `[B]`: rows that end; the others go on. None: all. `reset` begins anew in a row that has ended.
        """
        spec, made = self.tokenizer.spec, []
        chosen = rows_of(active, self._encoders.count)
        for lane in self._encoders.split(chosen):
            rest = lane.rest
            if not chosen[lane.rows[0]] or rest is None or (rest.shape[-1] == 0 and not self.holds_back):
                continue
            lane.rest, lane.state.ending = None, True
            made.append((lane.rows, self._frames(pad_to_hop(rest, spec.hop_samples) if self._pad_rest else rest, lane)))
        return self._tokens(made)

    def _frames(self, x: Tensor, lane: Lane) -> Tokens | None:
        spec = self.tokenizer.spec
        z = self.encode_piece(x, lane.state)
        if z.shape[-1] == 0:
            return None
        samples = min(z.shape[-1] * spec.hop_samples, lane.pending)
        lane.pending -= samples
        batch = Batch(options=self._options, items=range(len(z)), total=len(z), samples=samples)
        made = [Prepared(part, (samples,), spec.sample_rate_hz) for part in x]
        return self.tokenizer.tokens_of_batch(self.tokenizer.ids_of(z, batch), made, batch).made_by(self._maker)

    def _tokens(self, made: Sequence[tuple[list[int], Tokens | None]]) -> Tokens | None:
        """The frames of several lanes as one batch, in the order of the rows."""
        some = [(rows, tokens) for rows, tokens in made if tokens is not None]
        if not some:
            return None
        count = self._encoders.count
        if some[0][0] == list(range(count)):
            return some[0][1]
        head = some[0][1]
        sizes = None if head.sizes is None else head.sizes[:1] * 0
        none = replace(head[0], ids=head.ids[:1, :, :0], lengths=None, grid=(0,), sizes=sizes)
        of_row = {row: tokens[i] for rows, tokens in some for i, row in enumerate(rows)}
        return Tokens.cat([of_row.get(row, none) for row in range(count)])

    @torch.no_grad()
    def decode(self, tokens: Tokens, *, last: bool = False) -> Tensor | list[Tensor]:
        """Decode the next frames of the stream to samples.

        At the start a codec with delay returns fewer samples, and one that processes frames in groups waits for a full group.
        `last` marks the end of the stream; it is only needed for a stream shorter than the delay, or for an incomplete last
        group.

        Args:
            tokens: of B rows, the same number in all calls; a row of length 0 pauses.
            last: these are the last tokens of every row that has some.

        Returns:
            float32 `[B, C, L * hop]`, or a list of `[C, T]` where rows give different numbers of samples.
        """
        count = len(tokens)
        self._decoders.open(count, "decode")
        lengths = tokens.on_host("lengths").tolist()
        out: list[Tensor] = [torch.zeros(self.tokenizer.spec.channels, 0, device=self.tokenizer.device)] * count
        whole = None
        for lane in self._decoders.split(lengths):
            length = lengths[lane.rows[0]]
            if length == 0:
                continue
            own = tokens if len(lane.rows) == count else Tokens.cat([tokens[row] for row in lane.rows])
            own = own.made_by(None) if own.tokenizer == self._maker else own  # whose weights need not be read for every frame
            ids = self.tokenizer.check_tokens(own).ids[..., :length].to(self.tokenizer.device)
            ids = lane.take(ids, 1 if last else self._piece_frames)
            if ids.shape[-1] == 0:
                continue
            lane.state.ending = last
            z_q = self.tokenizer.quantizer.decode(ids).to(self.tokenizer.dtype)
            whole = self.decode_piece(z_q, lane.state).float()
            for row, y in zip(lane.rows, whole, strict=True):
                out[row] = y
        self._decoders.merge()
        return whole if whole is not None and len(whole) == count else one_batch(out)

    def reset(self, rows: Rows | None = None) -> None:
        """Begin anew, encoding and decoding, in some rows, as if nothing had come for them.

        Args:
            rows: bool `[B]`; None: all.
        """
        for side in (self._encoders, self._decoders):
            if side.lanes:
                side.reset(rows_of(rows, side.count))


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
    #: Frames that are processed as one group; see `AudioStream`.
    group_frames = 1

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents `[B, D, L]` of samples `[B, C, T]`, continuing where `state` ends."""
        raise NotImplementedError

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`, continuing where `state` ends."""
        raise NotImplementedError

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of `[B, C, T]`."""
        return self.encode_piece(self.fill(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`."""
        return self.decode_piece(z_q)

    def stream(self, *, num_codebooks: int | None = None, state_class: type[State] = State) -> AudioStream:
        """Start a stream; its outputs, joined, equal those for the whole clip. Only where `spec.causal`.

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
        """Pad the last frame of clips `[B, C, T]` with zeros, unless `encode_piece` pads it itself."""
        return pad_to_hop(x, self.spec.hop_samples) if self.pad_rest else x

    def _plan(self, frames: int) -> list[Span]:
        context = 0 if self.spec.streamable else None  # either the state is carried over, or every frame depends on the whole clip
        return plan(frames, self.piece_positions, context, multiple=self.group_frames)

    def _encoder_of(self, pieces: int, batch: Batch) -> Callable[[Tensor], Tensor]:
        return super()._encoder_of(pieces, batch) if pieces == 1 else _with_state(self.encode_piece, pieces)

    def _decoder_of(self, pieces: int) -> Callable[[Tensor], Tensor]:
        return super()._decoder_of(pieces) if pieces == 1 else _with_state(self.decode_piece, pieces)


def _with_state(piece: Callable[[Tensor, State], Tensor], count: int) -> Callable[[Tensor], Tensor]:
    """A function that applies `piece` to `count` parts in order, with one state carried from part to part."""
    state, numbers = State(), itertools.count(1)

    def run(part: Tensor) -> Tensor:
        state.ending = next(numbers) == count
        return piece(part, state)

    return run
