"""Additive quantization: a vector is the sum of one code of each table, tables and ids chosen jointly.

Babenko & Lempitsky 2014 ("Additive Quantization for Extreme Vector Compression", CVPR): ids by beam search, tables by least squares
over all of them at once. Residual quantization is the special case in which each level is chosen and trained after the ones before.
In training the tables follow the gradient of the joint error; `fit` solves the least squares, for features that are given.

Letters: B batch, D latent width, L positions, K codebooks, V codebook size, N rows.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config import ConfigError
from ..members import members
from .base import Quantized, Quantizer, QuantizerConfig, straight_through
from .parts.beam import beam_search
from .parts.clustering import all_reduce_together, kmeans
from .parts.residual import StackResult
from .parts.rows import feature_rows, row_mean
from .residual_vq import ResidualVQ, ResidualVQConfig
from .vq import VQ


@dataclass(frozen=True, kw_only=True)
class AdditiveVQConfig(QuantizerConfig):
    """Settings of `AdditiveVQ`.

    Attributes:
        num_codebooks: K.
        codebook_size: V of each table.
        beam: number of id sequences that the search keeps after each table.
        commitment_weight: weight of `mean((z - sg(z_q))^2)`.
        codebook_weight: weight of `mean((sg(z) - z_q)^2)`, which trains all tables jointly.
        kmeans_init: initialise table after table by k-means of the residuals of the first training batch.
        kmeans_iterations: number of Lloyd steps, there and in `fit`.
        replace_below: as in `TableConfig`.
        iterations: number of rounds of `fit`, each a least-squares solution and a new search.
        seed: seed of the choice of rows that the k-means of `fit` starts from.
    """

    kind: ClassVar[str] = "additive_vq"

    num_codebooks: int = 4
    codebook_size: int = 256
    beam: int = 8
    commitment_weight: float = 0.25
    codebook_weight: float = 1.0
    kmeans_init: bool = True
    kmeans_iterations: int = 10
    replace_below: float = 0.1
    iterations: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_codebooks", "codebook_size", "beam", "kmeans_iterations", "iterations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")

    def quantizer_class(self) -> type[Quantizer]:
        return AdditiveVQ

    def stack(self) -> ResidualVQConfig:
        """The residual stack with the same tables."""
        return ResidualVQConfig(
            dim=self.dim, num_codebooks=self.num_codebooks, codebook_size=self.codebook_size, beam=self.beam, update="gradient",
            commitment_weight=self.commitment_weight, codebook_weight=self.codebook_weight, kmeans_init=self.kmeans_init,
            kmeans_iterations=self.kmeans_iterations, replace_below=self.replace_below,
        )  # fmt: skip


class AdditiveVQ(Quantizer):
    """ids `[B, K, L]`; `z_q` is the sum of the K code vectors. The first codebooks alone are no coarser version of it."""

    config: AdditiveVQConfig

    def __init__(self, config: AdditiveVQConfig) -> None:
        super().__init__(config, (config.codebook_size,) * config.num_codebooks)
        self.stack = _JointStack(config.stack())

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        return self.stack._quantize(z, grid, mask)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.stack._encode(z, grid, num_codebooks)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return self.stack._decode(ids, grid)

    @torch.no_grad()
    def fit(self, features: Tensor) -> float:
        """Fit all tables jointly to features `[N, D]` or `[B, D, L]` of all ranks, which must call it together.

        A round holds a matrix of `(K V)^2` numbers in float64: 0.5 GB for 8 tables of 1024 codes.

        Returns:
            Squared distance to the sum of the codes, mean over this rank's features and their channels.

        Raises:
            ValueError: another width, or fewer features than codes in a table.
        """
        rows, size = feature_rows(features, self.dim), self.config.codebook_size
        if len(rows) < size:
            raise ValueError(f"fit takes at least codebook_size = {size} features; got {len(rows)}.")
        tables = self._start(rows)
        ids = beam_search(rows, self.stack.tables(), self.config.beam)
        for _ in range(self.config.iterations):
            tables = _least_squares(rows, ids, tables)
            self._set(tables)
            # the search need not find a sequence as good as the last one: the better one of each row stays
            found = beam_search(rows, self.stack.tables(), self.config.beam)
            better = self._errors(rows, found) < self._errors(rows, ids)
            ids = torch.where(better, found, ids)
        return float(self._errors(rows, beam_search(rows, self.stack.tables(), self.config.beam)).mean() / self.dim)

    def _start(self, rows: Tensor) -> Tensor:
        """Tables `[K, V, D]` of residual k-means: the first search is at least as good as a residual quantizer's."""
        left, tables, c = rows, [], self.config
        for k in range(c.num_codebooks):
            centres, _ = kmeans([left], c.codebook_size, iterations=c.kmeans_iterations, space=lambda x: x, seed=c.seed + k)
            tables.append(centres)
            self._set(torch.stack(tables))
            left = left - self.stack.tables()[k].decode_rows(self.stack.tables()[k].assign(left))
        return torch.stack(tables)

    def _set(self, tables: Tensor) -> None:
        for table, level in zip(tables, self.stack.tables(), strict=False):
            level.codebook.embed.data.copy_(table)
            level.codebook.ready.fill_(True)

    def _errors(self, rows: Tensor, ids: Tensor) -> Tensor:
        return (rows - self.stack.decode_stack(ids.unsqueeze(1)).squeeze(0)).square().sum(1)


class _JointStack(ResidualVQ):
    """A residual stack whose losses are those of the sum of all levels."""

    def tables(self) -> list[VQ]:
        return members(self.levels, VQ)

    def terms(self, z: Tensor, ids: Tensor, *, kept: Tensor | None = None, mask: Tensor | None = None) -> StackResult:
        total = torch.stack([level.codebook.vectors(at) for level, at in zip(self.tables(), ids, strict=True)]).sum(0)  # [B, L, D]
        rows = [(z - total.detach()).square(), (z.detach() - total).square()]
        valid = None if mask is None else mask.flatten()
        commitment, codebook = (row_mean(x.mean(2).flatten(), valid).view(1) for x in rows)
        return StackResult(straight_through(z, self.decode_stack(ids)), commitment, codebook)


def _least_squares(rows: Tensor, ids: Tensor, tables: Tensor) -> Tensor:
    """Tables `[K, V, D]` with the smallest sum of squared distances between rows `[N, D]` and the sums of their codes `[K, N]`.

    The solution is not unique (a vector added to one table and subtracted from another changes no sum, and unused codes are free),
    so a thousandth of the mean count pulls every code towards its present place; the distance still cannot grow.
    """
    (num, size, dim), device = tables.shape, rows.device
    together = torch.zeros(num, size, num, size, dtype=torch.float64, device=device)  # how often two codes are used together
    sums = torch.zeros(num, size, dim, dtype=torch.float64, device=device)
    for k in range(num):
        sums[k].index_add_(0, ids[k], rows.double())
        for j in range(num):
            together[k, :, j] = torch.bincount(ids[k] * size + ids[j], minlength=size * size).view(size, size)
    all_reduce_together([together, sums])
    matrix, right = together.view(num * size, -1), sums.view(num * size, dim)
    pull = 1e-3 * float(matrix.diagonal().mean())
    matrix = matrix + pull * torch.eye(num * size, dtype=torch.float64, device=device)
    right = right + pull * tables.double().view(num * size, dim)
    return torch.cholesky_solve(right, torch.linalg.cholesky(matrix)).view_as(tables).to(tables.dtype)
