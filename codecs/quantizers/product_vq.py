"""Product codebooks: several small tables, each of which quantizes its own projection of the same latent.

Two tables of 90 codes distinguish 8100 latents with 180 vectors to search and to train (LongCat-Audio-Codec, arXiv
2510.15227, section 3.2). The results are concatenated: channels `i D / T .. (i + 1) D / T` of z_q are those of table i.
Letters: B batch, D latent width, L positions, N = B L rows, T tables, V_t codes of table t, d width of the tables.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..config import ConfigError
from ..members import members
from .base import Quantizer
from .parts.codebook import Codebook, TableConfig
from .parts.rows import Maps, RowQuantizer, RowTerms
from .vq import VQ, VQConfig


@dataclass(frozen=True, kw_only=True)
class ProductVQConfig(TableConfig):
    """Settings of `ProductVQ`; those not listed here are in `TableConfig` and apply to every table. Losses are means over tables.

    Attributes:
        codebook_sizes: V_t of each table.
        codebook_dim: d, at least 1: each table has its own linear map to this width.
        combine: one id `(id_0 V_1 + id_1) V_2 + ...` (at most 2^18 values) at each position; False: one id for each table.
    """

    kind: ClassVar[str] = "product_vq"

    codebook_sizes: tuple[int, ...] = (90, 90)
    codebook_dim: int = 8
    combine: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.codebook_sizes or min(self.codebook_sizes) < 1:
            raise ConfigError(f"codebook_sizes is {self.codebook_sizes}; give the size of each table.")
        if self.codebook_dim < 1:
            raise ConfigError("codebook_dim is 0; product_vq quantizes projections. For parts of the latent take grouped_vq.")
        if self.dim % len(self.codebook_sizes):
            raise ConfigError(f"dim is {self.dim}, not a multiple of the {len(self.codebook_sizes)} tables.")
        if self.combine and math.prod(self.codebook_sizes) > 2**18:
            raise ConfigError(f"{self.codebook_sizes} has more than 2^18 combinations; set combine to false.")

    def quantizer_class(self) -> type[Quantizer]:
        return ProductVQ


class ProductVQ(RowQuantizer):
    """ids `[B, 1, L]` over all combinations, or `[B, T, L]` without `combine`."""

    config: ProductVQConfig

    def __init__(self, config: ProductVQConfig) -> None:
        sizes = config.codebook_sizes
        super().__init__(config, (math.prod(sizes),) if config.combine else sizes)
        table = {f.name: getattr(config, f.name) for f in dataclasses.fields(TableConfig)}
        out = config.dim // len(sizes)
        self.tables = nn.ModuleList(VQ(VQConfig(**table, codebook_size=size), out_dim=out) for size in sizes)

    def codebooks(self) -> list[Codebook]:
        return [book for table in self._tables() for book in table.codebooks()]

    def is_ready(self) -> bool:
        return all(table.is_ready() for table in self._tables())

    @torch.no_grad()
    def assign(self, rows: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True) -> Tensor:
        return self._combine([t.assign(rows, keep=keep, update=update, start=start) for t in self._tables()])

    def decode_rows(self, ids: Tensor) -> Tensor:
        return torch.cat([t.decode_rows(at) for t, at in zip(self._tables(), self._separate(ids), strict=True)], dim=1)

    def row_terms(self, z: Tensor, ids: Tensor, *, through: Tensor | None = None) -> RowTerms:
        pairs = zip(self._tables(), self._separate(ids), strict=True)
        return _side_by_side([table.row_terms(z, at, through=through) for table, at in pairs])

    # --- for levels of a residual stack, as in `VQ`; the projections of all tables are concatenated, `[N, T d]` -----

    @torch.no_grad()
    def assign_projected(
        self, p: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True
    ) -> Tensor:
        """`assign` for projected rows `[N, T d]`."""
        parts = zip(self._tables(), self._chunks(p), strict=True)
        return self._combine([t.assign_projected(x, keep=keep, update=update, start=start) for t, x in parts])

    def narrow_terms(self, p: Tensor, ids: Tensor, *, through: Tensor) -> RowTerms:
        """`row_terms` for projected rows: `p` and `z_q` are `[N, T d]`, after the maps down and before the maps up."""
        parts = zip(self._tables(), self._chunks(p), self._separate(ids), self._chunks(through), strict=True)
        return _side_by_side([table.narrow_terms(x, at, through=y) for table, x, at, y in parts])

    def narrow_vectors(self, ids: Tensor) -> Tensor:
        """Vectors `[N, T d]` of ids `[N]`, before the maps up."""
        pairs = zip(self._tables(), self._separate(ids), strict=True)
        return torch.cat([table.narrow_vectors(at) for table, at in pairs], dim=1)

    def maps(self) -> Maps:
        """The maps of all tables as one: maps down concatenated, maps up as a block-diagonal matrix."""
        each = [table.maps() for table in self._tables()]
        return Maps(
            torch.cat([m.down for m in each]),
            torch.cat([m.down_bias for m in each]),
            torch.block_diag(*(m.up for m in each)),
            torch.cat([m.up_bias for m in each]),
        )

    def _chunks(self, p: Tensor) -> tuple[Tensor, ...]:
        return p.chunk(len(self.tables), dim=1)

    # --- ids --------------------------------------------------------------------------------------------------------

    def _combine(self, ids: list[Tensor]) -> Tensor:
        """Combine one id `[N]` of each table into one id `[N]` over all combinations."""
        out = ids[0]
        for size, at in zip(self.config.codebook_sizes[1:], ids[1:], strict=True):
            out = out * size + at
        return out

    def _separate(self, ids: Tensor) -> list[Tensor]:
        """Split combined ids `[N]` into one id `[N]` for each table: the inverse of `_combine`."""
        out = []
        for size in reversed(self.config.codebook_sizes):
            out.append(ids % size)
            ids = ids // size
        return out[::-1]

    def _split_ids(self, ids: Tensor, z: Tensor) -> Tensor:
        parts = [ids] if self.config.combine else self._separate(ids)
        return torch.stack([super(ProductVQ, self)._split_ids(at, z)[:, 0] for at in parts], dim=1)

    def _join_ids(self, ids: Tensor) -> Tensor:
        return ids.reshape(-1) if self.config.combine else self._combine([at.reshape(-1) for at in ids.unbind(1)])

    def _tables(self) -> list[VQ]:
        return members(self.tables, VQ)


def _side_by_side(parts: list[RowTerms]) -> RowTerms:
    """Terms of several tables as one: vectors concatenated along channels, losses averaged."""
    z_q, commitment, codebook = zip(*parts, strict=True)
    return RowTerms(torch.cat(z_q, dim=1), torch.stack(commitment).mean(0), torch.stack(codebook).mean(0))
