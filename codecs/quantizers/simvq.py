"""SimVQ: a frozen table, transformed by one learned linear map.

Zhu et al. 2024, "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer", arXiv
2411.02038. Training the map moves all codes at once, so that none stays unused. Used by ILLUME+ (DualViTok).
Letters: B batch, D latent width, L positions, V codebook size, N = B L rows, d width of the table.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ConfigError
from .base import Quantizer, QuantizerConfig
from .parts.nearest import nearest_code
from .parts.rows import RowQuantizer, RowTerms, estimate, steady_linear


@dataclass(frozen=True, kw_only=True)
class SimVQConfig(QuantizerConfig):
    """Settings of `SimVQ`. loss = codebook_weight * mean (sg(z) - z_q)^2 + commitment_weight * mean (z - sg(z_q))^2

    Attributes:
        codebook_size: V.
        table_dim: d, width of the frozen table; 0: D.
        commitment_weight: weight of the term that moves latents to codes; small, since the map follows the latents (0.25 in the
            paper's code).
        codebook_weight: weight of the term that moves codes to latents.
        gradient: as in `TableConfig`.
    """

    kind: ClassVar[str] = "simvq"

    codebook_size: int = 16384
    table_dim: int = 0
    commitment_weight: float = 0.25
    codebook_weight: float = 1.0
    gradient: Literal["straight_through", "rotation"] = "straight_through"

    def __post_init__(self) -> None:
        if self.codebook_size < 1:
            raise ConfigError(f"codebook_size is {self.codebook_size}; it must be at least 1.")

    def quantizer_class(self) -> type[Quantizer]:
        return SimVQ


class SimVQ(RowQuantizer):
    """codes = transform(table), id = nearest code; the codebook term trains the map only."""

    config: SimVQConfig
    table: Tensor

    def __init__(self, config: SimVQConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        width = config.table_dim or config.dim
        self.register_buffer("table", torch.randn(config.codebook_size, width) * width**-0.5)
        self.transform = nn.Linear(width, config.dim, bias=False)

    @torch.no_grad()
    def assign(self, rows: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True) -> Tensor:
        return nearest_code(rows, steady_linear(self.table.float(), self.transform.weight, None))

    def decode_rows(self, ids: Tensor) -> Tensor:
        # Only the chosen rows pass through the map: bit for bit the rows of the mapped table, whose V rows instead of N cost more.
        return steady_linear(F.embedding(ids, self.table.float()), self.transform.weight, None)

    def row_terms(self, z: Tensor, ids: Tensor, *, through: Tensor | None = None) -> RowTerms:
        q = self.decode_rows(ids)
        z_q = estimate(z if through is None else through, q.detach(), self.config.gradient)
        return RowTerms(z_q, (z - q.detach()).square().mean(1), (z.detach() - q).square().mean(1))
