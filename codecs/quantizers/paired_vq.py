"""Paired tables: one id stands for a semantic and a pixel vector, the pair with the smallest weighted sum of distances.

TokenFlow (Qu et al. 2024, arXiv 2412.03069, section 3.1). Its tokenizer does this at several scales: `multiscale_vq`
with `semantic_dim`.
Letters: B batch, D = D_s + D_p latent width (semantic channels first), L positions, V codebook size, N = B L rows.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..config import ConfigError
from .base import Quantizer
from .parts.codebook import Codebook, TableConfig
from .parts.nearest import unit
from .parts.rows import RowQuantizer, RowTerms, estimate, select


@dataclass(frozen=True, kw_only=True)
class PairedVQConfig(TableConfig):
    """Settings of `PairedVQ`; those not listed here are in `TableConfig`.

    Attributes:
        codebook_size: V.
        semantic_dim: D_s, the first channels of the latents; the others are the pixel branch's.
        semantic_weight: weight of the semantic distance; that of the pixel distance is 1.
        normalize: scale the semantic and the pixel part to length 1 each (TokenFlow: yes, and it returns the scaled vectors).
    """

    kind: ClassVar[str] = "paired_vq"

    codebook_size: int = 32768
    semantic_dim: int = 32
    semantic_weight: float = 1.0
    normalize: bool = True
    returns: Literal["raw", "normalized"] = "normalized"
    update: Literal["ema", "gradient"] = "gradient"
    kmeans_init: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codebook_dim:
            raise ConfigError("paired_vq has no codebook_dim: its tables are as wide as their parts of the latents.")
        if self.dim and not 0 < self.semantic_dim < self.dim:
            raise ConfigError(f"semantic_dim is {self.semantic_dim}; it must leave some of the {self.dim} channels to pixels.")
        if self.semantic_weight <= 0:
            raise ConfigError(f"semantic_weight is {self.semantic_weight}; it must be positive.")

    def quantizer_class(self) -> type[Quantizer]:
        return PairedVQ


class PairedCodebook(Codebook):
    """Both tables in one, `embed [V, D_s + D_p]`: the weighted sum of distances is the distance of the concatenated, scaled parts."""

    def __init__(self, size: int, dim: int, config: TableConfig, *, semantic_dim: int, semantic_weight: float = 1.0) -> None:
        super().__init__(size, dim, config)
        self.semantic_dim, self.semantic_weight = semantic_dim, semantic_weight

    def space(self, x: Tensor) -> Tensor:
        a, b = self.parts(x)
        if self.config.normalize:
            a, b = unit(a), unit(b)
        return torch.cat((a * self.semantic_weight**0.5, b), dim=-1)

    def returned(self, rows: Tensor) -> Tensor:
        if self.config.returns == "raw":
            return rows
        return torch.cat([unit(part) for part in self.parts(rows)], dim=-1)

    def row_losses(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """As in `Codebook`, but the sum of the means over the channels of each part, so that the wider part has no larger weight."""
        each = [super(PairedCodebook, self).row_losses(a, b) for a, b in zip(self.parts(p), self.parts(q), strict=True)]
        return each[0][0] + each[1][0], each[0][1] + each[1][1]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Semantic and pixel channels of `[..., D]`."""
        return x[..., : self.semantic_dim], x[..., self.semantic_dim :]


class PairedVQ(RowQuantizer):
    """ids `[B, 1, L]` shared by the semantic and the pixel part; `z_q` has the semantic channels first, as `z` has."""

    config: PairedVQConfig

    def __init__(self, config: PairedVQConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        self.codebook = PairedCodebook(
            config.codebook_size,
            config.dim,
            config,
            semantic_dim=config.semantic_dim,
            semantic_weight=config.semantic_weight,
        )

    def codebooks(self) -> list[Codebook]:
        return [] if self.frozen else [self.codebook]

    @torch.no_grad()
    def assign(self, rows: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True) -> Tensor:
        if update and start and not self.codebook.is_ready():
            self.codebook.prepare(select(rows, keep))
        ids = self.codebook.search(rows)
        if update:
            self.codebook.observe(select(rows, keep), select(ids, keep))
        return ids

    def decode_rows(self, ids: Tensor) -> Tensor:
        return self.codebook.vectors(ids)

    def row_terms(self, z: Tensor, ids: Tensor, *, through: Tensor | None = None) -> RowTerms:
        p, q = self.codebook.returned(z), self.codebook.vectors(ids)
        towards = p if through is None else self.codebook.returned(through)
        z_q = [
            estimate(a, b, self.config.gradient)
            for a, b in zip(self.codebook.parts(towards), self.codebook.parts(q.detach()), strict=True)
        ]
        return RowTerms(torch.cat(z_q, dim=-1), *self.codebook.row_losses(p, q))
