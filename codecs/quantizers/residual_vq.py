"""Residual vector quantization: each table quantizes the residual of the tables before it.

Sources: SoundStream (arXiv 2107.03312), EnCodec (arXiv 2210.13438), DAC (arXiv 2306.06546: lookup in narrow spaces, and dropout
per item). Extensions of other papers are in separate files: levels at lower rates (SNAC), and one matrix product for the maps of
all levels, in `parts/factorised.py`; several tables a level (LongCat) in `product_vq.py`; two parallel stacks (Mimi) in
`split_vq.py`.
Letters: B batch, D latent width, L positions, K codebooks, V codebook size, d width of the tables.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..config import ConfigError
from ..members import members
from .base import Quantizer
from .parts.beam import beam_search
from .parts.codebook import Codebook, TableConfig
from .parts.factorised import FactorisedResidual, PlainResidual, factorised_decode, factorised_terms, pool, repeat
from .parts.residual import ResidualStack, StackResult, level_losses, valid_rows
from .parts.rows import estimate, linear, steady_linear
from .product_vq import ProductVQ, ProductVQConfig
from .vq import VQ, VQConfig


@dataclass(frozen=True, kw_only=True)
class ResidualVQConfig(TableConfig):
    """Settings of `ResidualVQ`; those not listed here are in `TableConfig`.

    Attributes:
        num_codebooks: K.
        codebook_size: V, or one V per level.
        codebook_dim: as in `TableConfig`, or one width per level, each at least 1 (DAC allows both forms).
        shared_codebook: one table for all levels; it is updated once a step, after all levels have used it.
        projection: with `codebook_dim`: "level", one pair of maps for each level (DAC, MOSS), or "shared", one pair around the
            whole stack (Mimi).
        dropout: probability that an item of a training batch keeps only its first n levels, n uniform in 1..K.
        product: number of parallel tables in each level, each with its own maps and with `codebook_size` codes; a level's id
            numbers all their combinations (LongCat: 2 tables of 90 codes, V = 8100). 1: one table a level.
        strides: number of positions that share one code, per level (SNAC: (4, 2, 1)); ids are repeated to the full rate, so L
            must be a multiple of each. Empty: 1 everywhere.
        split_first: n: the first n levels and the other levels are two residual stacks on the same input, see `split_vq.py`;
            0: one stack. Older configs have False for 0 and True for 1.
        stack_dim: width of the residuals, between one linear map down and one up around the whole stack, both with a bias
            (MOSS: 512, while each level still has its maps to `codebook_dim`); 0: D itself.
        beam: number of id sequences that the search keeps after each level, see `parts/beam.py`. 1: the nearest code of every level,
            as published codecs do. More: nearer vectors from the same tables and bits, for about `beam` times the search; the ids of
            the first n levels then depend on how many levels are searched.
    """

    kind: ClassVar[str] = "residual_vq"

    num_codebooks: int = 8
    codebook_size: int | tuple[int, ...] = 1024
    codebook_dim: int | tuple[int, ...] = 0
    shared_codebook: bool = False
    projection: Literal["level", "shared"] = "level"
    dropout: float = 0.0
    product: int = 1
    strides: tuple[int, ...] = ()
    split_first: int | bool = 0
    stack_dim: int = 0
    beam: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "split_first", int(self.split_first))
        if self.num_codebooks < 1 + self.split_first:
            raise ConfigError(f"num_codebooks is {self.num_codebooks}; split_first = {self.split_first} needs more.")
        if len(self.sizes) != self.num_codebooks or min(self.sizes) < 1:
            raise ConfigError(
                f"codebook_size is {self.codebook_size}; give one number, or {self.num_codebooks} (num_codebooks)."
            )
        widths = self.codebook_dim
        if not isinstance(widths, int):
            if len(widths) != self.num_codebooks or min(widths) < 1:
                raise ConfigError(f"codebook_dim is {widths}; give one number, or {self.num_codebooks} (num_codebooks) positive ones.")
            if self.shared_codebook or self.projection == "shared":
                raise ConfigError(f"codebook_dim is {widths}; a shared table, or a shared pair of maps, has one width.")
        if self.strides and (len(self.strides) != self.num_codebooks or min(self.strides) < 1):
            raise ConfigError(f"strides is {self.strides}; give {self.num_codebooks} (num_codebooks) positive numbers or none.")
        if self.shared_codebook and len(set(self.sizes)) > 1:
            raise ConfigError(f"shared_codebook needs one codebook_size, got {self.codebook_size}.")
        if self.shared_codebook and self.split_first:
            raise ConfigError("shared_codebook and split_first exclude each other: the two stacks have separate tables.")
        if self.product < 1 or (self.product > 1 and (self.shared_codebook or self.projection != "level")):
            raise ConfigError("product needs separate tables and maps in each level: shared_codebook false, projection 'level'.")
        if self.beam < 1 or (self.beam > 1 and (self.product > 1 or max(self.strides, default=1) > 1)):
            raise ConfigError(f"beam is {self.beam}; it is 1 or more, and 1 with product tables or strides.")
        if not 0 <= self.dropout <= 1:
            raise ConfigError(f"dropout is {self.dropout}; it is a probability.")
        if self.stack_dim and self.codebook_dim and self.projection == "shared":
            raise ConfigError("stack_dim and projection 'shared' are both maps around the stack; set one of them.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """V, the number of different ids, of each level."""
        size = self.codebook_size
        sizes = (size,) * self.num_codebooks if isinstance(size, int) else size
        return tuple(v**self.product for v in sizes)

    def quantizer_class(self) -> type[Quantizer]:
        from .split_vq import SplitResidualVQ

        return SplitResidualVQ if self.split_first else ResidualVQ


class ResidualVQ(ResidualStack):
    """One residual stack of K levels, ids `[B, K, L]`; `ResidualStack` has the training step."""

    config: ResidualVQConfig

    def __init__(self, config: ResidualVQConfig) -> None:
        super().__init__(config, config.sizes)
        self.strides = config.strides
        self.in_proj = self.out_proj = None
        width = config.dim
        if config.projection == "shared" and config.codebook_dim:
            assert isinstance(config.codebook_dim, int)
            width = config.codebook_dim
            self.in_proj = nn.Linear(config.dim, width, bias=config.proj_bias)
            self.out_proj = nn.Linear(width, config.dim, bias=config.proj_bias)
        elif config.stack_dim:
            width = config.stack_dim
            self.in_proj, self.out_proj = nn.Linear(config.dim, width), nn.Linear(width, config.dim)
        level_configs = [_level_config(config, width, k) for k in range(config.num_codebooks)]
        self.codebook = None
        if config.shared_codebook:
            table = level_configs[0]
            assert isinstance(table, VQConfig)
            self.codebook = Codebook(table.codebook_size, table.table_dim, table)
        self.levels = nn.ModuleList(
            VQ(c, shared=self.codebook) if isinstance(c, VQConfig) else ProductVQ(c) for c in level_configs
        )

    def codebooks(self) -> list[Codebook]:
        if self.frozen:
            return []
        if self.codebook is not None:
            return [self.codebook]
        return [book for level in self._row_levels() for book in level.codebooks()]

    @torch.no_grad()
    def search(
        self, z: Tensor, num: int, *, kept: Tensor | None = None, mask: Tensor | None = None, update: bool = False
    ) -> Tensor:
        update = update and not self.frozen
        start_from = z if self.in_proj is None else _steady(z, self.in_proj)
        levels = self._row_levels()[:num]
        beam = self.config.beam > 1
        if beam and all(level.is_ready() for level in levels):
            return self._beam(start_from, levels, kept, mask, update)
        ids = self._greedy(start_from, levels, kept, mask, update)
        if beam and update and all(level.is_ready() for level in levels):  # the tables have just started
            for book in self.codebooks():
                book.take_observed()
            return self._beam(start_from, levels, kept, mask, update)
        return ids

    def _greedy(
        self, z: Tensor, levels: list[VQ | ProductVQ], kept: Tensor | None, mask: Tensor | None, update: bool
    ) -> Tensor:
        """Ids `[num, B, L]` of rows `[B, L, d]`, the nearest code of every level, as in `search`."""
        residual = (FactorisedResidual if self._projected_levels() else PlainResidual)(z, levels)
        out, ready = [], True
        for k, (level, stride) in enumerate(zip(levels, self._steps(), strict=False)):
            keep = valid_rows(z.shape[:2], stride, None if kept is None else kept[k], mask) if update else None
            # K-means of a level needs residuals of levels that have started already.
            out.append(residual.step(k, stride, keep=keep, update=update, start=ready))  # [B, L]
            ready = ready and (not update or level.is_ready())
        return torch.stack(out)

    def _beam(
        self, z: Tensor, levels: list[VQ | ProductVQ], kept: Tensor | None, mask: Tensor | None, update: bool
    ) -> Tensor:
        """Ids `[num, B, L]` of rows `[B, L, d]` by beam search, as in `search`."""
        tables, left = [level for level in levels if isinstance(level, VQ)], z.flatten(0, 1)
        ids = beam_search(left, tables, self.config.beam)
        if update:
            for k, level in enumerate(tables):
                level.observe(left, ids[k], valid_rows(z.shape[:2], 1, None if kept is None else kept[k], mask))
                left = left - level.decode_rows(ids[k])
        return ids.unflatten(1, z.shape[:2])

    def terms(self, z: Tensor, ids: Tensor, *, kept: Tensor | None = None, mask: Tensor | None = None) -> StackResult:
        inner = z if self.in_proj is None else linear(z, self.in_proj)  # [B, L, d]
        levels = self._projected_terms if self._projected_levels() else self._plain_terms
        total, losses = levels(inner, ids, kept, mask)
        commitment, codebook = (torch.stack(x) for x in zip(*losses, strict=True))
        return StackResult(self._up(total), commitment, codebook)

    def _plain_terms(
        self, z: Tensor, ids: Tensor, kept: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Levels without maps: one straight-through estimator around their sum (one for each level would add K gradients)."""
        left, total, losses, steps = z, None, [], self._steps()
        for k, level in enumerate(self._row_levels()):
            assert isinstance(level, VQ)
            s, keep = steps[k], None if kept is None else kept[k]
            q = level.codebook.vectors(ids[k][:, ::s])  # [B, L / s, d]
            p = level.codebook.returned(pool(left, s))
            rows = level.codebook.row_losses(p.flatten(0, 1), q.flatten(0, 1))
            losses.append(level_losses(rows, p.shape[:2], keep, valid_rows(z.shape[:2], s, None, mask)))
            z_q = repeat(q.detach(), s)
            left = left - z_q
            part = z_q if keep is None else torch.where(keep[:, None, None], z_q, 0.0)
            total = part if total is None else total + part
        assert total is not None
        return estimate(z.flatten(0, 1), total.flatten(0, 1), self.config.gradient).view_as(total), losses

    def _projected_terms(
        self, z: Tensor, ids: Tensor, kept: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Levels with maps: one straight-through estimator for each, between its maps down and up."""
        steps = self._steps()
        z_q, terms = factorised_terms(z, ids, self._row_levels(), steps, kept)
        losses = []
        for k, (out, s) in enumerate(zip(terms, steps, strict=True)):
            shape = torch.Size((z.shape[0], z.shape[1] // s))
            keep, valid = None if kept is None else kept[k], valid_rows(z.shape[:2], s, None, mask)
            losses.append(level_losses((out.commitment, out.codebook), shape, keep, valid))
        return z_q, losses

    def decode_stack(self, ids: Tensor) -> Tensor:
        if self._projected_levels():
            return self._up(factorised_decode(ids, self._row_levels(), self._steps()))
        total: Tensor | None = None
        for level, at, s in zip(self._row_levels(), ids, self._steps(), strict=False):
            some = at[:, ::s]  # [B, L / s]
            z_q = repeat(level.decode_rows(some.flatten()).unflatten(0, some.shape), s)
            total = z_q if total is None else total + z_q
        assert total is not None
        return self._up(total)

    def _row_levels(self) -> list[VQ | ProductVQ]:
        return members(self.levels, VQ, ProductVQ)

    def _steps(self) -> tuple[int, ...]:
        """Stride of each level, in positions."""
        return self.strides or (1,) * self.num_codebooks

    def _projected_levels(self) -> bool:
        return bool(self.config.codebook_dim) and self.config.projection == "level"

    def _up(self, rows: Tensor) -> Tensor:
        return rows if self.out_proj is None else _steady(rows, self.out_proj)


def _steady(z: Tensor, proj: nn.Linear) -> Tensor:
    return steady_linear(z.flatten(0, 1), proj.weight, proj.bias).unflatten(0, z.shape[:2])


def _level_config(config: ResidualVQConfig, width: int, level: int) -> VQConfig | ProductVQConfig:
    table = {f.name: getattr(config, f.name) for f in dataclasses.fields(TableConfig)}
    table |= {"dim": width, "codebook_dim": 0 if config.projection == "shared" else _of_level(config.codebook_dim, level)}
    size = _of_level(config.codebook_size, level)
    if config.product > 1:
        return ProductVQConfig(**table, codebook_sizes=(size,) * config.product)
    return VQConfig(**table, codebook_size=size)


def _of_level(value: int | tuple[int, ...], level: int) -> int:
    return value if isinstance(value, int) else value[level]
