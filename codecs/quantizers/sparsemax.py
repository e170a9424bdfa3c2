"""Sparsemax lookup: a sparse mixture of learned vectors in training, the best one as the token.

Finite Discrete Tokens (arXiv 2303.14865; yuxiaochen1103/FDT @ ccf69830c1), with sparsemax of Martins & Astudillo 2016
(arXiv 1602.02068). Letters: B batch, D latent width, L positions, V codebook size, N rows.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, zero_loss
from .parts.nearest import largest_dot
from .parts.rows import from_rows, to_rows

#: Number of scores in memory at a time; never all N x V.
CHUNK_SCORES = 2**22


@dataclass(frozen=True, kw_only=True)
class SparsemaxConfig(QuantizerConfig):
    """Settings of `Sparsemax`.

    Attributes:
        codebook_size: V. FDT: 16384, with D = 512.
        temperature: the scores are divided by it; FDT anneals from 1000 to 0.01: `moving` in a run file.
        hard: True: z_q is the chosen vector in training too, with the gradient of the mixture. False: z_q is the mixture in
            training, which is not `decode(ids)`; in eval mode it is always the chosen vector.
    """

    kind: ClassVar[str] = "sparsemax"
    moving: ClassVar[tuple[str, ...]] = ("temperature",)

    codebook_size: int = 16384
    temperature: float = 1.0
    hard: bool = False

    def __post_init__(self) -> None:
        if self.codebook_size < 1 or self.temperature <= 0:
            raise ConfigError(f"codebook_size {self.codebook_size}, temperature {self.temperature}: must be positive.")

    def quantizer_class(self) -> type["Sparsemax"]:
        return Sparsemax


class Sparsemax(Quantizer):
    """score = z . c / sqrt(D) / temperature; the id is the code of the largest score, which is also the largest weight.

    FDT itself has no ids, and pools scores over positions before sparsemax: `scores` and `mix` do that.
    """

    config: SparsemaxConfig

    def __init__(self, config: SparsemaxConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        self.table = nn.Parameter(torch.randn(config.codebook_size, config.dim))

    def scores(self, rows: Tensor) -> Tensor:
        """Scores `[N, V]` of rows `[N, D]`."""
        return rows @ self.table.t() / self.dim**0.5 / self.config.temperature

    def mix(self, scores: Tensor) -> Tensor:
        """Mixture `[N, D]` of the table's vectors with the weights sparsemax(scores)."""
        return sparsemax(scores) @ self.table

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        rows = to_rows(z)  # [N, D]
        ids = self._search(rows.detach())
        chosen = self.table[ids]
        if self.training or torch.is_grad_enabled():
            parts = rows.split(self._chunk())
            mixed = torch.cat([checkpoint(self._mix_rows, part, use_reentrant=False) for part in parts])
            z_q = mixed if self.training and not self.config.hard else _MixtureGradient.apply(mixed, chosen)
        else:
            z_q = chosen
        return Quantized(from_rows(z_q, z), ids.view(len(z), 1, z.shape[-1]), zero_loss(z))

    def _mix_rows(self, rows: Tensor) -> Tensor:
        return self.mix(self.scores(rows))

    def _search(self, rows: Tensor) -> Tensor:
        """Ids int64 `[N]` of rows `[N, D]`."""
        return largest_dot(rows, self.table)

    def _chunk(self) -> int:
        return max(1, CHUNK_SCORES // self.config.codebook_size)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self._search(to_rows(z)).view(len(z), 1, z.shape[-1])

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return self.table[ids[:, 0]].transpose(1, 2)


def sparsemax(scores: Tensor) -> Tensor:
    """Euclidean projection of each row `[N, V]` on the simplex: max(0, s - tau), with tau so that it sums to 1.

    Martins & Astudillo 2016, algorithm 1; the gradient follows from tau over the support (their equation 13).
    """
    s = scores - scores.amax(dim=-1, keepdim=True)
    with torch.no_grad():
        ordered = s.sort(dim=-1, descending=True).values
        rank = torch.arange(1, s.shape[-1] + 1, device=s.device, dtype=s.dtype)
        size = (1 + rank * ordered > ordered.cumsum(-1)).sum(-1, keepdim=True)  # of the support
        support = s >= ordered.gather(-1, size - 1)
    tau = (torch.where(support, s, 0.0).sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True)
    return torch.where(support, s - tau, 0.0).clamp_min(0)


class _MixtureGradient(torch.autograd.Function):
    """Value of the second argument, gradient to the first one."""

    @staticmethod
    def forward(ctx: object, mixed: Tensor, chosen: Tensor) -> Tensor:
        return chosen.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
