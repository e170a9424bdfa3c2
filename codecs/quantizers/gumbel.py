"""Categorical codes from logits: a linear map scores every code, the Gumbel-softmax trick trains it.

Jang et al. 2016, arXiv 1611.01144, as in VQGAN's Gumbel variant (CompVis/taming-transformers @ 3ba01b2416,
`GumbelQuantize`).
Letters: B batch, D latent width, L positions, V codebook size, d width of the table.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through
from .parts.rows import from_rows, row_mean, steady_linear, to_rows


@dataclass(frozen=True, kw_only=True)
class GumbelConfig(QuantizerConfig):
    """Settings of `Gumbel`.

    loss = kl_weight * mean over positions of KL(softmax(logits) || uniform)

    Attributes:
        codebook_size: V.
        code_dim: d, width of the code vectors; 0: D.
        temperature: temperature of the Gumbel-softmax in training.
        kl_weight: see above; taming 5e-4, its published model 1e-8.
        sample: add Gumbel noise in training. `encode` never does: it takes the most probable code.

    Differs: taming draws noise in eval mode too, so that encoding a picture twice gives different ids; here only `draw` does.
    """

    kind: ClassVar[str] = "gumbel"
    moving: ClassVar[tuple[str, ...]] = ("temperature",)

    codebook_size: int = 8192
    code_dim: int = 0
    temperature: float = 1.0
    kl_weight: float = 5e-4
    sample: bool = True

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; it must be positive.")

    def quantizer_class(self) -> type["Gumbel"]:
        return Gumbel


class Gumbel(Quantizer):
    """logits = scores(z); id = argmax; z_q = table[id]. The gradient to logits and table is that of the softmax."""

    config: GumbelConfig

    def __init__(self, config: GumbelConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        self.code_dim = config.code_dim or config.dim
        self.scores = nn.Linear(config.dim, config.codebook_size)
        self.embed = nn.Parameter(torch.randn(config.codebook_size, self.code_dim))

    def logits(self, z: Tensor) -> Tensor:
        """Scores `[B, V, L]` of latents `[B, D, L]`; their rounding does not depend on the rest of the batch."""
        return from_rows(steady_linear(to_rows(z.float()), self.scores.weight, self.scores.bias), z)

    @torch.no_grad()
    def draw(self, z: Tensor, *, noise: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Ids `[B, 1, L]` drawn from softmax(logits), as argmax of logits plus Gumbel noise.

        Args:
            z: latents `[B, D, L]`.
            noise: `-log E` with E standard exponential, `[B, V, L]`; None: drawn with `generator`.
            generator: source of the noise; None: PyTorch's default.
        """
        logits = self.logits(z)
        if noise is None:
            noise = -torch.empty_like(logits).exponential_(generator=generator).log()
        return ((logits + noise) / self.config.temperature).argmax(dim=1, keepdim=True)

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        logits = self.logits(z)  # [B, V, L]
        noise = torch.zeros_like(logits)
        if self.training and self.config.sample:
            noise = -torch.empty_like(logits).exponential_().log()
        soft = F.softmax((logits + noise) / self.config.temperature, dim=1)
        # not divided by the temperature, which could round a near tie the other way: without noise these are the ids of `encode`
        ids = (logits + noise).argmax(dim=1, keepdim=True)  # [B, 1, L]
        z_soft = torch.einsum("bvl,vd->bdl", soft, self.embed)
        probabilities = F.softmax(logits, dim=1)
        kl = (probabilities * (F.log_softmax(logits, dim=1) + math.log(logits.shape[1]))).sum(1)  # [B, L]
        kl = row_mean(kl.flatten(), None if mask is None else mask.flatten())
        z_q = straight_through(z_soft, self._decode(ids, grid).detach())
        return Quantized(z_q, ids, self.config.kl_weight * kl, {"kl": kl.detach()})

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.logits(z).argmax(dim=1, keepdim=True)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return F.embedding(ids[:, 0], self.embed).transpose(1, 2)
