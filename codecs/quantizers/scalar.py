"""Scalar rounding: every channel to a multiple of 1/m between -1 and 1.

SQ-Codec (SimpleSpeech, arXiv 2406.02328; yangdongchao/SimpleSpeech @ 6b95cf056a): round(9 tanh(z)) / 9, 19 values a
channel, 32 to 136 channels.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through, zero_loss
from .fsq import MAX_CODEBOOK_SIZE


@dataclass(frozen=True, kw_only=True)
class ScalarConfig(QuantizerConfig):
    """Settings of `Scalar`.

    Attributes:
        steps: m; a channel has 2m + 1 values. SQ-Codec: 9, and 1 (ternary) in the DASB variant.
        tanh: apply tanh here; False where the encoder has done it (SQ-Codec's does). Values beyond +-1 are clamped.
        channels_per_id: channels in one id, (2m + 1)^channels_per_id <= 2^18; D must be a multiple. SQ-Codec has no
            integer ids: 1 gives K = D ids `digit = round(m z) + m`. DASB packs 9 ternary channels.
    """

    kind: ClassVar[str] = "scalar"

    steps: int = 9
    tanh: bool = True
    channels_per_id: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.channels_per_id < 1:
            raise ConfigError(f"steps {self.steps} and channels_per_id {self.channels_per_id} must be at least 1.")
        if (2 * self.steps + 1) ** self.channels_per_id > MAX_CODEBOOK_SIZE:
            raise ConfigError(f"(2 * {self.steps} + 1)^{self.channels_per_id} is above 2^18; use fewer channels an id.")
        if self.dim % self.channels_per_id:
            raise ConfigError(f"dim is {self.dim}, not a multiple of channels_per_id {self.channels_per_id}.")

    def quantizer_class(self) -> type["Scalar"]:
        return Scalar


class Scalar(Quantizer):
    """ids `[B, D / channels_per_id, L]`, the first channel of an id the fastest digit; the gradient is that of tanh."""

    config: ScalarConfig
    basis: Tensor

    def __init__(self, config: ScalarConfig) -> None:
        v = 2 * config.steps + 1
        per_id = config.channels_per_id
        super().__init__(config, (v**per_id,) * (config.dim // per_id))
        self.values_per_channel = v
        basis = torch.tensor([v**i for i in range(per_id)], dtype=torch.int64)
        self.register_buffer("basis", basis.unsqueeze(-1), persistent=False)  # [c, 1]

    def digits(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Bounded channels and float digits 0..2m, both `[B, D, L]`."""
        u = torch.tanh(z) if self.config.tanh else z
        m = self.config.steps
        return u, (u.detach() * m).round().clamp(-m, m) + m

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        u, digits = self.digits(z)
        return Quantized(straight_through(u, self._values(digits)), self._pack(digits), zero_loss(z))

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self._pack(self.digits(z)[1])

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        digits = ids.long().unsqueeze(2) // self.basis % self.values_per_channel  # [B, K, c, L]
        return self._values(digits.flatten(1, 2).float())

    def _values(self, digits: Tensor) -> Tensor:
        return (digits - self.config.steps) / self.config.steps

    def _pack(self, digits: Tensor) -> Tensor:
        per_id = digits.long().unflatten(1, (self.num_codebooks, self.config.channels_per_id))  # [B, K, c, L]
        return (per_id * self.basis).sum(2)
