"""Two parallel quantizers, each on its own channels: one for semantic, one for pixel or acoustic latents.

DualToken (Song et al. 2025, arXiv 2503.14324: two residual stacks on shallow and deep features), H-Codec (two residual
stacks on acoustic and semantic frames).
Letters: B batch, D latent width, L positions, K = K_1 + K_2 codebooks of `first` and of `second`.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig
from .residual_vq import ResidualVQConfig


@dataclass(frozen=True, kw_only=True)
class DualConfig(QuantizerConfig):
    """Settings of `Dual`.

    Attributes:
        first: quantizer of the first channels, of any kind.
        second: quantizer of the other channels, of any kind. The `dim` of `first` and of `second` is filled in as half of D;
            set one of them where the halves are not equal.
        prefix: the last codebooks may be left out (DualCodec); if all of `second` are, its channels are zeros.
    """

    kind: ClassVar[str] = "dual"

    first: QuantizerConfig = ResidualVQConfig(num_codebooks=4)
    second: QuantizerConfig = ResidualVQConfig(num_codebooks=4)
    prefix: bool = False

    def __post_init__(self) -> None:
        if self.dim:
            self.widths()

    def widths(self) -> tuple[int, int]:
        """Number of channels of `first` and of `second`."""
        a, b = self.first.dim, self.second.dim
        a, b = a or (self.dim - b if b else self.dim // 2), b or (self.dim - a if a else self.dim - self.dim // 2)
        if a < 1 or b < 1 or a + b != self.dim:
            raise ConfigError(f"first.dim is {a} and second.dim {b}; they must add up to dim = {self.dim}.")
        return a, b

    def quantizer_class(self) -> type[Quantizer]:
        return Dual


class Dual(Quantizer):
    """ids `[B, K, L]`: those of `first`, then of `second`. Losses are added; metrics get the prefixes `first_` and `second_`."""

    config: DualConfig

    def __init__(self, config: DualConfig) -> None:
        a, b = config.widths()
        first = dataclasses.replace(config.first, dim=a).build()
        second = dataclasses.replace(config.second, dim=b).build()
        super().__init__(config, first.codebook_sizes + second.codebook_sizes)
        self.first, self.second = first, second
        if config.prefix and not all(p.prefix_decodable or p.num_codebooks == 1 for p in (first, second)):
            raise ConfigError("prefix needs first and second to decode their first codebooks alone, or to have one codebook.")
        self.prefix_decodable = config.prefix
        self.needs_grid = first.needs_grid or second.needs_grid

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        a, b = (part._quantize(x, grid, mask) for part, x in zip(self._parts(), self._split(z), strict=True))
        metrics = {f"first_{k}": v for k, v in a.metrics.items()} | {f"second_{k}": v for k, v in b.metrics.items()}
        return Quantized(torch.cat((a.z_q, b.z_q), dim=1), self._join(a.ids, b.ids), a.loss + b.loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        n, (a, b) = self.first.num_codebooks, self._split(z)
        ids = self.first._encode(a, grid, min(n, num_codebooks))
        return ids if num_codebooks <= n else self._join(ids, self.second._encode(b, grid, num_codebooks - n))

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        n = self.first.num_codebooks
        a = self.first._decode(ids[:, :n], grid)
        b = self.second._decode(ids[:, n:], grid) if ids.shape[1] > n else a.new_zeros(len(a), self.second.dim, a.shape[2])
        return torch.cat((a, b), dim=1)

    def code_vectors(self, codebook: int) -> Tensor:
        n = self.first.num_codebooks
        return self.first.code_vectors(codebook) if codebook < n else self.second.code_vectors(codebook - n)

    def _parts(self) -> tuple[Quantizer, Quantizer]:
        return self.first, self.second

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[:, : self.first.dim], z[:, self.first.dim :]

    def _join(self, a: Tensor, b: Tensor) -> Tensor:
        if a.shape[2] != b.shape[2]:
            raise ValueError(f"first and second give ids of {a.shape[2]} and {b.shape[2]} positions; these must be equal.")
        return torch.cat((a, b), dim=1)
