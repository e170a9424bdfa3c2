"""Memory codes: each codebook has learned vectors, a linear map from them to keys, and another one to values.

Mama et al. 2021, "NWT: Towards natural audio-to-video generation with representation learning", arXiv 2106.04283; parity checked
through 4M's copy (apple/ml-4m @ cda590faa3, fourm/vq/quantizers/quantize_memcodes.py). 4M turns global vectors and human poses into
16 and 8 ids with it.
Letters: B batch, D latent width, L positions, K codebooks, V their size, d = D / K.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through, zero_loss
from .parts.nearest import largest_dot
from .parts.rows import to_rows


@dataclass(frozen=True, kw_only=True)
class MemcodesConfig(QuantizerConfig):
    """Settings of `Memcodes`.

    Attributes:
        codebooks: K, number of equal parts that D is cut into, in order.
        codebook_size: V.
        temperature: temperature of the Gumbel-softmax in training.
        sample: add Gumbel noise in training. `encode` never does.
    """

    kind: ClassVar[str] = "memcodes"

    codebooks: int = 8
    codebook_size: int = 1024
    temperature: float = 1.0
    sample: bool = True

    def __post_init__(self) -> None:
        if self.codebooks < 1 or self.codebook_size < 1 or self.temperature <= 0:
            raise ConfigError(
                f"codebooks {self.codebooks}, codebook_size {self.codebook_size}, temperature {self.temperature}: must be positive."
            )
        if self.dim % self.codebooks:
            raise ConfigError(f"dim is {self.dim}, not a multiple of codebooks = {self.codebooks}.")

    def quantizer_class(self) -> type["Memcodes"]:
        return Memcodes


class Memcodes(Quantizer):
    """id k = argmax of (part k of z) . keys k; part k of z_q = values k [id k]. The loss is 0."""

    config: MemcodesConfig

    def __init__(self, config: MemcodesConfig) -> None:
        k, d = config.codebooks, config.dim // config.codebooks
        super().__init__(config, (config.codebook_size,) * k)
        self.codes = nn.Parameter(torch.randn(k, config.codebook_size, d))
        self.to_keys = nn.Parameter(torch.empty(k, d, d).uniform_(-1, 1) * d**-0.5)
        self.to_values = nn.Parameter(torch.empty(k, d, d).uniform_(-1, 1) * d**-0.5)

    def keys(self) -> Tensor:
        """Keys of all codes, `[K, V, d]`: latents are compared with these."""
        return self.codes @ self.to_keys

    def values(self) -> Tensor:
        """Values of all codes, `[K, V, d]`: z_q consists of these."""
        return self.codes @ self.to_values

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        parts = z.unflatten(1, (self.num_codebooks, -1)).transpose(2, 3)  # [B, K, L, d]
        logits = torch.einsum("bkld,kvd->bklv", parts, self.keys()) * parts.shape[-1] ** -0.5
        if self.training and self.config.sample:
            logits = logits - torch.empty_like(logits).exponential_().log()
            ids = logits.argmax(-1)
        else:
            ids = self._encode(z, grid, self.num_codebooks)
        soft = (logits / self.config.temperature).softmax(-1)
        chosen = straight_through(soft, F.one_hot(ids, self.config.codebook_size).to(soft))
        out = torch.einsum("bklv,kvd->bkdl", chosen, self.values()).flatten(1, 2)  # one-hot weights: exactly rows of the values
        return Quantized(out, ids, zero_loss(z))

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        parts = z.chunk(self.num_codebooks, dim=1)
        ids = [largest_dot(to_rows(part), keys) for part, keys in zip(parts, self.keys(), strict=True)]
        return torch.stack([i.view(len(z), z.shape[-1]) for i in ids], dim=1)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        parts = [values[at] for values, at in zip(self.values(), ids.unbind(1), strict=True)]  # K x [B, L, d]
        return torch.cat(parts, dim=2).transpose(1, 2)
