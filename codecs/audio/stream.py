"""Streaming for causal audio families: push samples or tokens of any size, get what is ready.

Letters: B batch, C channels, T samples, K codebooks, L frames, D latent width.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..layers.causal import State
from ..tokens import Tokens

if TYPE_CHECKING:
    from .base import AudioTokenizer


class AudioStream:
    """The state of one stream, for encoding, decoding, or both; make it with `tokenizer.stream()`.

    All ids that `push` and `flush` of the encoding side return, joined, equal `tokenizer.encode` of the whole; all
    samples that `decode` returns, joined, equal `tokenizer.decode` of all tokens before the final cut to length.
    """

    def __init__(
        self,
        tokenizer: "AudioTokenizer",
        *,
        encode: Callable[[Tensor, State], Tensor],
        decode: Callable[[Tensor, State], Tensor],
    ) -> None:
        if not tokenizer.spec.streamable:
            raise ValueError(
                f"this {tokenizer.family} tokenizer looks ahead and cannot stream; use one with spec.causal, or encode "
                "whole clips."
            )
        self.tokenizer = tokenizer
        self._encode, self._decode = encode, decode
        self._encode_state: State = {}
        self._decode_state: State = {}
        self._rest: Tensor | None = None  # samples that do not fill a frame yet
        self._samples = 0

    @torch.no_grad()
    def push(self, samples: Tensor) -> Tokens | None:
        """Add samples `[B, C, T]` (also `[C, T]` or `[T]`) at `spec.sample_rate_hz`; return the new frames, if any."""
        x = samples[(None,) * (3 - samples.ndim)] if samples.ndim < 3 else samples
        if x.ndim != 3 or x.shape[1] != self.tokenizer.spec.channels:
            raise ValueError(f"push takes [B, {self.tokenizer.spec.channels}, T], got {list(samples.shape)}.")
        self._samples += x.shape[-1]
        x = x.to(self.tokenizer.device, self.tokenizer.dtype)
        x = x if self._rest is None else torch.cat([self._rest, x], dim=-1)
        whole = x.shape[-1] - x.shape[-1] % self.tokenizer.spec.hop_samples
        self._rest = x[..., whole:]
        return self._frames(x[..., :whole]) if whole else None

    @torch.no_grad()
    def flush(self) -> Tokens | None:
        """End the encoding side: the last frame, filled up with zeros as `encode` does, if samples are left."""
        rest, self._rest = self._rest, None
        if rest is None or rest.shape[-1] == 0:
            return None
        hop = self.tokenizer.spec.hop_samples
        return self._frames(torch.nn.functional.pad(rest, (0, hop - rest.shape[-1])), cut=hop - rest.shape[-1])

    def _frames(self, x: Tensor, cut: int = 0) -> Tokens:
        spec = self.tokenizer.spec
        ids = self.tokenizer.quantizer.encode(self._encode(x, self._encode_state))
        sizes = torch.full((x.shape[0], 1), x.shape[-1] - cut)
        tokens = Tokens(ids=ids.cpu(), vocab_sizes=spec.vocab_sizes, sizes=sizes, sample_rate_hz=spec.sample_rate_hz)
        return dataclasses.replace(tokens, names=spec.names).to(ids.device)

    @torch.no_grad()
    def decode(self, tokens: Tokens) -> Tensor:
        """Samples `[B, C, L * hop]` of the next frames."""
        self.tokenizer.check_tokens(tokens)
        z_q = self.tokenizer.quantizer.decode(tokens.ids.to(self.tokenizer.device)).to(self.tokenizer.dtype)
        return self._decode(z_q, self._decode_state)
