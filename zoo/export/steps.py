"""Streams as graphs: a piece of fixed length and the state of every layer go in, ids or samples and the next state come out.

    ids, *state = encoder(samples, *state)      # all state is zero before the first piece

A batch holds one stream in each row; a row whose state is set to zero begins anew. Ids and samples equal those of `stream()`.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ...codecs.audio.stream import AudioStream
from ...codecs.coding import Batch
from ...codecs.kernels.stream import State, StepState
from ...codecs.options import make_options
from ...codecs.spec import AudioSpec
from ...codecs.tokenizer import Tokenizer
from .errors import NotExportable
from .halves import Axis, Half, Input, frames_together, least_pieces

#: Where one tensor of a state is: the layer, and its number where the layer keeps several, else -1.
Place = tuple[nn.Module, int]


@runtime_checkable
class _Streams(Protocol):
    def stream(self) -> AudioStream: ...


def _stream(tokenizer: Tokenizer) -> AudioStream:
    """A stream of a tokenizer with `spec.streamable`."""
    assert isinstance(tokenizer, _Streams)
    return tokenizer.stream()


class StepHalf(Half):
    """Base of the two directions of a stream in pieces of `frames` positions."""

    variadic = True

    def __init__(self, tokenizer: Tokenizer, part: str, frames: int | None) -> None:
        super().__init__(tokenizer)
        spec, self.part = tokenizer.spec, part
        if not isinstance(spec, AudioSpec) or not spec.streamable:
            raise NotExportable(tokenizer, part, "it does not stream (`spec.causal` is False)")
        self.stream = _stream(tokenizer)
        together = frames_together(tokenizer)
        least = max(together, least_pieces(tokenizer) * together if self.stream.holds_back else 1)
        self.frames = least if frames is None else frames
        if self.frames % together or self.frames < least:
            raise ValueError(f"frames is {frames}; a piece of this tokenizer's stream has a multiple of {together}, from {least} on.")
        self.places: list[Place] = []

    def _finish(self, first: Input, output: str, run: Callable[[Tensor, StepState], Tensor]) -> None:
        """Find the tensors of the state by running one piece, and state all inputs and outputs."""
        state = StepState()
        with torch.no_grad():
            run(first.example(batch=2), state)
        self.inputs, self.outputs = (first,), (output,)
        for layer, value in state.items():
            for at, tensor in enumerate(value if isinstance(value, tuple) else (value,)):
                if not isinstance(tensor, Tensor) or not tensor.numel():
                    reason = f"the state of its {type(layer).__name__} is no tensor of constant shape"
                    raise NotExportable(self.tokenizer, self.part, reason)
                name = f"state_{len(self.places)}"
                axes = (first.axes[0], *(Axis(f"{name}_{i}", n) for i, n in enumerate(tensor.shape[1:], 1)))
                self.inputs += (Input(name, axes, low=0.0, high=0.0, integer=not tensor.is_floating_point()),)
                self.outputs += (f"next_{name}",)
                self.places.append((layer, at if isinstance(value, tuple) else -1))

    def _state(self, tensors: tuple[Tensor, ...]) -> StepState:
        state: dict[nn.Module, Any] = {}
        for (layer, at), tensor in zip(self.places, tensors, strict=True):
            state[layer] = tensor if at < 0 else (*state.get(layer, ()), tensor)
        return StepState(state)

    def _tensors(self, state: StepState) -> tuple[Tensor, ...]:
        return tuple(state[layer] if at < 0 else state[layer][at] for layer, at in self.places)


class StepEncoder(StepHalf):
    """The next samples `[B, C, frames * hop]` of streams to ids `[B, K, frames]`."""

    def __init__(self, tokenizer: Tokenizer, *, codebooks: int | None, frames: int | None) -> None:
        super().__init__(tokenizer, "encoder", frames)
        spec = tokenizer.spec
        assert isinstance(spec, AudioSpec)
        self.options = make_options(tokenizer, "encode", None, {} if codebooks is None else {"num_codebooks": codebooks})
        tokenizer._check_codebooks(self.options.num_codebooks)
        axes = (Axis("batch", 2, 1), Axis("channels", spec.channels), Axis("length", self.frames * spec.hop_samples))
        self._finish(Input("waveform", axes, *spec.value_range), "ids", self.stream.encode_piece)

    def forward(self, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Ids of the next piece, and the state after it."""
        state = self._state(tensors)
        z = self.stream.encode_piece(x.to(self.tokenizer.dtype), state)
        ids = self.tokenizer.ids_of(z, Batch(options=self.options, items=range(1), total=1)).ids
        return (ids, *self._tensors(state))


class StepDecoder(StepHalf):
    """The next ids `[B, K, frames]` of streams to samples `[B, C, frames * hop]`."""

    def __init__(self, tokenizer: Tokenizer, *, codebooks: int | None, frames: int | None) -> None:
        super().__init__(tokenizer, "decoder", frames)
        tokenizer._check_codebooks(codebooks)
        vocab = tuple(tokenizer.spec.vocab_sizes[: codebooks or None])
        axes = (Axis("batch", 2, 1), Axis("codebooks", len(vocab)), Axis("length", self.frames))
        self._finish(
            Input("ids", axes, vocab_sizes=vocab), "waveform", lambda ids, s: self.stream.decode_piece(tokenizer.vectors_of(ids), s)
        )

    def forward(self, ids: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Samples of the next piece, and the state after it."""
        state = self._state(tensors)
        return (self.stream.decode_piece(self.tokenizer.vectors_of(ids), state).float(), *self._tensors(state))


def check_stream(half: StepHalf, part: str, pieces: int = 3) -> None:
    """Raise NotExportable unless `half`, begun with zeros, gives what the tokenizer's own stream gives for several pieces."""
    first, length = half.inputs[0], half.inputs[0].axes[-1].size
    longer = Input(first.name, (*first.axes[:-1], Axis("length", length * pieces)), first.low, first.high, first.vocab_sizes).example()
    state = tuple(i.example() for i in half.inputs[1:])
    made, own = [], _stream(half.tokenizer)
    with torch.no_grad():
        for piece in longer.split(length, dim=-1):
            y, *rest = half(piece, *state)
            state = tuple(rest)
            made.append(y)
        y = torch.cat(made, dim=-1)
        if part == "encoder":
            parts = [own.push(longer), own.flush()]
            want = torch.cat([t.ids[:, : y.shape[1]] for t in parts if t is not None], dim=-1)[..., : y.shape[-1]]
            same = want.shape == y.shape and bool((want == y).float().mean() > 0.99)
        else:
            whole = State()
            whole.ending = True
            want = half.stream.decode_piece(half.tokenizer.vectors_of(longer), whole)[..., : y.shape[-1]].float()
            same = want.shape == y.shape and bool(((want - y).abs() <= 1e-3 * (1 + want.abs())).all())
    if not same:
        raise NotExportable(half.tokenizer, part, "pieces of fixed length do not give what its stream gives")
