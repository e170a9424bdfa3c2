"""OptVQ: codes assigned by optimal transport, so that rows spread evenly over a table behind a learned map.

Zhang et al. 2024, "Preventing Local Pitfalls in Vector Quantization via Optimal Transport", arXiv 2412.15195; the form of SFTok
(Neur-IO/SFTok @ 0e98df00dc, modeling/quantizer/optvq.py). The plan between N rows and V codes, of equal weight each, is approximated by
a few steps of Sinkhorn's algorithm; a row's id is the code with the largest share of it.

So an id depends on the other rows. The authors plan over all rows of the batch, also when they encode. Differs: each item is planned
alone, which gives the authors' ids of that item in a batch of one; only training steps may plan over the batch (`training_plan`). The
plan is computed in float64.

Letters: B batch, D latent width, L positions, V codebook size, N rows of a plan.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through
from .parts.nearest import unit, wide
from .parts.rows import from_rows, row_mean, steady_linear, to_rows

#: Keeps quotients finite, as in the authors' code.
_EPS = 1e-8


@dataclass(frozen=True, kw_only=True)
class OptVQConfig(QuantizerConfig):
    """Settings of `OptVQ`. loss = codebook_weight * mean (sg(z) - z_q)^2 + commitment_weight * mean (z - sg(z_q))^2

    Attributes:
        codebook_size: V.
        normalize: scale latents and mapped codes to length 1, for plan and result.
        iterations: steps of Sinkhorn's algorithm.
        sharpness: factor of the distances in the exponent: large, and the plan is that of the nearest codes.
        commitment_weight: weight of the term that moves latents to codes.
        codebook_weight: weight of the term that moves codes to latents.
        training_plan: rows that a training step plans together: those of one "item", or of the whole "batch" as the authors do, which
            spreads the codes over all pictures but gives ids that `encode` does not.
    """

    kind: ClassVar[str] = "optvq"

    codebook_size: int = 8192
    normalize: bool = True
    iterations: int = 5
    sharpness: float = 10.0
    commitment_weight: float = 0.25
    codebook_weight: float = 1.0
    training_plan: Literal["item", "batch"] = "item"

    def __post_init__(self) -> None:
        if self.codebook_size < 1:
            raise ConfigError(f"codebook_size is {self.codebook_size}; it must be at least 1.")
        if self.sharpness <= 0:
            raise ConfigError(f"sharpness is {self.sharpness}; it must be positive.")

    def quantizer_class(self) -> type[Quantizer]:
        return OptVQ


def sinkhorn(cost: Tensor, *, iterations: int, sharpness: float) -> Tensor:
    """Plan `[N, V]` between rows and codes of equal weights for costs `[N, V]`; every row sums to 1 after at least one step."""
    plan = torch.exp(-cost * sharpness)
    plan = plan / (plan.sum() + _EPS)
    rows, codes = plan.shape
    for _ in range(iterations):
        plan = plan / (plan.sum(0, keepdim=True) + _EPS) / codes
        plan = plan / (plan.sum(1, keepdim=True) + _EPS) / rows
    return plan * rows


class OptVQ(Quantizer):
    """codes = map(table), id = the code with the largest share of the row in a transport plan; see the module's docstring."""

    needs_grid = True  # each item as a whole
    config: OptVQConfig

    def __init__(self, config: OptVQConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        self.table = nn.Parameter(torch.empty(config.codebook_size, config.dim).uniform_(-1, 1) / config.codebook_size)
        self.transform = nn.Linear(config.dim, config.dim)
        nn.init.eye_(self.transform.weight)
        nn.init.zeros_(self.transform.bias)

    def codes(self, ids: Tensor | None = None) -> Tensor:
        """Codes `[N, D]` of ids `[N]`; None: all V."""
        table = self.table.float() if ids is None else F.embedding(ids, self.table.float())
        return self._space(steady_linear(table, self.transform.weight, self.transform.bias))

    @torch.no_grad()
    def plan_ids(self, rows: Tensor) -> Tensor:
        """Ids `[N]` of rows `[N, D]` that are planned together."""
        if not len(rows):
            return torch.zeros(0, dtype=torch.int64, device=rows.device)
        cost = torch.cdist(wide(self._space(rows)), wide(self.codes()), compute_mode="donot_use_mm_for_euclid_dist")
        plan = sinkhorn(cost - cost.min(), iterations=self.config.iterations, sharpness=self.config.sharpness)
        return plan.argmax(dim=1)

    def _space(self, rows: Tensor) -> Tensor:
        return unit(rows) if self.config.normalize else rows

    def _ids(self, z: Tensor, mask: Tensor | None) -> Tensor:
        """Ids `[B, 1, L]` of latents `[B, D, L]`; positions that bool `mask [B, L]` leaves out get id 0 and weigh nothing."""
        rows = to_rows(z.detach().float())
        together = self.training and torch.is_grad_enabled() and self.config.training_plan == "batch"
        step = max(len(rows) if together else z.shape[2], 1)
        if mask is None:
            ids = torch.cat([self.plan_ids(part) for part in rows.split(step)])
        else:
            ids, valid = torch.zeros(len(rows), dtype=torch.int64, device=z.device), mask.flatten()
            for at in range(0, len(rows), step):
                part = valid[at : at + step]
                ids[at : at + step][part] = self.plan_ids(rows[at : at + step][part])
        return ids.view(len(z), 1, z.shape[2])

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        c, ids = self.config, self._ids(z, mask)
        rows, q = self._space(to_rows(z)), self.codes(ids.flatten())
        keep = None if mask is None else mask.flatten()
        commitment = row_mean((rows - q.detach()).square().mean(1), keep)
        codebook = row_mean((rows.detach() - q).square().mean(1), keep)
        z_q = from_rows(straight_through(rows, q.detach()), z)
        loss = c.commitment_weight * commitment + c.codebook_weight * codebook
        return Quantized(z_q, ids, loss, {"commitment": commitment.detach()})

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self._ids(z, None)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return from_rows(self.codes(ids.flatten()), ids)
