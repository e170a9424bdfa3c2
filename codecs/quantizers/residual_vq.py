"""Residual vector quantization: each table quantizes what the ones before it left over.

Sources: SoundStream (arXiv 2107.03312), EnCodec (arXiv 2210.13438), DAC (arXiv 2306.06546: factorised lookup and dropout per
item), SNAC (arXiv 2410.14411: a stride per level), Mimi (arXiv 2410.00037: the first level beside the others).
Letters: B batch, D latent width, L positions, K codebooks, V codebook size, d width of the tables.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..config import ConfigError
from .base import Quantized, Quantizer
from .codebook import Codebook, TableConfig, apply_updates
from .vq import VQ, VQConfig, estimate, row_mean, select, steady_linear


@dataclass(frozen=True, kw_only=True)
class ResidualVQConfig(TableConfig):
    """K tables in a row.

    Attributes:
        num_codebooks: K.
        codebook_size: V, or one V per level.
        shared_codebook: one table for all levels; its statistics are applied once, after all of them.
        projection: with `codebook_dim`: maps of each level ("level": DAC, MOSS) or one pair around all ("shared": Mimi).
        dropout: probability that an item of a training batch keeps only its first n levels, n uniform in 1..K.
        strides: positions that share one code, per level (SNAC: (4, 2, 1)); ids are repeated to the full rate, so L must be a
            multiple of each. Empty: 1 everywhere.
        split_first: the first level (or this many) and the others are two residual stacks on the same input, with own maps;
            their results are added (Mimi: the first level is distilled from a speech model, the others take no account
            of it).
        stack_dim: width that the residuals run in, between one linear map down and one up, both with a bias, around
            the whole stack (MOSS: 512, while each level still has its maps to `codebook_dim`); 0: D itself.
    """

    kind: ClassVar[str] = "residual_vq"

    num_codebooks: int = 8
    codebook_size: int | tuple[int, ...] = 1024
    shared_codebook: bool = False
    projection: Literal["level", "shared"] = "level"
    dropout: float = 0.0
    strides: tuple[int, ...] = ()
    split_first: bool | int = False
    stack_dim: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_codebooks < 1 + self.split_first:
            raise ConfigError(f"num_codebooks is {self.num_codebooks}; split_first = {self.split_first} needs more.")
        if len(self.sizes) != self.num_codebooks or min(self.sizes) < 1:
            raise ConfigError(
                f"codebook_size is {self.codebook_size}; give one number, or {self.num_codebooks} (num_codebooks)."
            )
        if self.strides and (len(self.strides) != self.num_codebooks or min(self.strides) < 1):
            raise ConfigError(f"strides is {self.strides}; give {self.num_codebooks} (num_codebooks) positive numbers or none.")
        if self.shared_codebook and len(set(self.sizes)) > 1:
            raise ConfigError(f"shared_codebook needs one codebook_size, got {self.codebook_size}.")
        if self.shared_codebook and self.split_first:
            raise ConfigError("shared_codebook and split_first exclude each other: the two stacks have own tables.")
        if not 0 <= self.dropout <= 1:
            raise ConfigError(f"dropout is {self.dropout}; it is a probability.")
        if self.stack_dim and self.codebook_dim and self.projection == "shared":
            raise ConfigError("stack_dim and projection 'shared' are both maps around the stack; set one of them.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """V of each level."""
        size = self.codebook_size
        return (size,) * self.num_codebooks if isinstance(size, int) else size

    @classmethod
    def quantizer_class(cls) -> type[Quantizer]:
        return ResidualVQ


class StackResult(NamedTuple):
    """What a stack gives for rows `[B, L, D]`."""

    z_q: Tensor  #: [B, L, D]
    commitment: Tensor  #: [K]
    codebook: Tensor  #: [K]


class ResidualVQ(Quantizer):
    """K levels; ids `[B, K, L]`; any prefix decodes. In training z_q of an item with dropout is that of its prefix."""

    prefix_decodable = True
    config: ResidualVQConfig

    def __init__(self, config: ResidualVQConfig) -> None:
        super().__init__(config, config.sizes)
        if config.split_first:
            self.split = int(config.split_first)
            self.first = ResidualVQ(_part(config, slice(0, self.split)))
            self.rest = ResidualVQ(_part(config, slice(self.split, None)))
            return
        self.strides = config.strides or (1,) * config.num_codebooks
        self.in_proj = self.out_proj = None
        width = config.dim
        if config.codebook_dim and config.projection == "shared":
            width = config.codebook_dim
            self.in_proj = nn.Linear(config.dim, width, bias=config.proj_bias)
            self.out_proj = nn.Linear(width, config.dim, bias=config.proj_bias)
        elif config.stack_dim:
            width = config.stack_dim
            self.in_proj, self.out_proj = nn.Linear(config.dim, width), nn.Linear(width, config.dim)
        table = _level_config(config, width, config.sizes[0])
        self.codebook = Codebook(table.codebook_size, table.table_dim, table) if config.shared_codebook else None
        self.levels = nn.ModuleList(
            VQ(_level_config(config, width, size), shared=self.codebook) for size in config.sizes
        )

    # --- Quantizer --------------------------------------------------------------------------------------------------

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        rows = z.transpose(1, 2).contiguous()  # [B, L, D]
        kept = self._draw_levels(rows.shape[0], z.device)  # [K, B] or None
        ids = self.search(rows.detach(), self.num_codebooks, kept=kept, mask=mask, update=self.training and not self.frozen)
        out = self.terms(rows, ids, kept=kept, mask=mask)
        if self.training and not self.frozen:
            apply_updates(self.codebooks())
        c = self.config
        loss = c.commitment_weight * out.commitment.sum() + c.codebook_weight * out.codebook.sum()
        metrics = {"commitment": out.commitment.detach().mean()}
        return Quantized(out.z_q.transpose(1, 2), ids.transpose(0, 1), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.search(z.transpose(1, 2).contiguous(), num_codebooks).transpose(0, 1).contiguous()

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return self.decode_stack(ids.transpose(0, 1)).transpose(1, 2)

    def _draw_levels(self, batch: int, device: torch.device) -> Tensor | None:
        """Which levels each item keeps, bool `[K, B]`; None: all of them."""
        if not self.training or self.config.dropout == 0:
            return None
        num = self.num_codebooks
        count = torch.randint(1, num + 1, (batch,), device=device)
        count = torch.where(torch.rand(batch, device=device) < self.config.dropout, count, num)
        return torch.arange(num, device=device).unsqueeze(1) < count

    # --- the stack, on rows [B, L, D] ---------------------------------------------------------------------------------

    def codebooks(self) -> list[Codebook]:
        """The tables, a shared one once."""
        if self.config.split_first:
            return self.first.codebooks() + self.rest.codebooks()
        return [self.codebook] if self.codebook is not None else [level.codebook for level in self.levels]

    @torch.no_grad()
    def search(
        self, z: Tensor, num: int, *, kept: Tensor | None = None, mask: Tensor | None = None, update: bool = False
    ) -> Tensor:
        """Return ids int64 `[num, B, L]` of rows `[B, L, D]`.

        Args:
            kept: bool `[K, B]`, as in `terms`.
            mask: bool `[B, L]`, valid positions.
            update: let the tables start and collect statistics (of valid rows of kept levels).
        """
        if self.config.split_first:
            n = self.split
            both = [(self.first, slice(0, n), min(num, n)), (self.rest, slice(n, None), max(0, num - n))]
            parts = [
                s.search(z, n, kept=None if kept is None else kept[part], mask=mask, update=update) for s, part, n in both if n
            ]
            return torch.cat(parts)
        residual = z if self.in_proj is None else _linear3(z, self.in_proj)
        out, ready = [], True
        for k, level in enumerate(self.levels[:num]):
            rows = pool(residual, self.strides[k])  # [B, L / s, d]
            flat = rows.flatten(0, 1)
            if update:
                valid = _valid(rows, self.strides[k], None if kept is None else kept[k], mask)
                if ready:  # a later level starts from what started levels leave over
                    level.prepare(select(flat, valid))
                ready = ready and level.codebook.is_ready()
            ids = level.search_rows(flat)
            if update:
                level.observe(select(flat, valid), select(ids, valid))
            z_q = level.decode_rows(ids).view_as(rows)
            residual = residual - repeat(z_q, self.strides[k])
            out.append(repeat(ids.view(rows.shape[:2]), self.strides[k]))
        return torch.stack(out)

    def terms(self, z: Tensor, ids: Tensor, *, kept: Tensor | None = None, mask: Tensor | None = None) -> StackResult:
        """Return results with gradients of rows `[B, L, D]` whose ids `[K, B, L]` are known.

        Two residuals of the same value run side by side. `left` subtracts results as constants: with it the loss of every level
        reaches the latent. `through` subtracts them with their gradient, as in DAC: with it K straight-through maps do not add
        up to K times the gradient.
        """
        if self.config.split_first:
            n = self.split
            a = self.first.terms(z, ids[:n], kept=None if kept is None else kept[:n], mask=mask)
            b = self.rest.terms(z, ids[n:], kept=None if kept is None else kept[n:], mask=mask)
            return StackResult(a.z_q + b.z_q, torch.cat((a.commitment, b.commitment)), torch.cat((a.codebook, b.codebook)))
        inner = z if self.in_proj is None else self.in_proj(z)  # [B, L, d]
        left = through = inner
        total = torch.zeros_like(inner)
        losses = []
        for k, level in enumerate(self.levels):
            s, keep = self.strides[k], None if kept is None else kept[k]
            rows = pool(left, s)
            out = level.row_terms(
                rows.flatten(0, 1), ids[k][:, ::s].flatten(), through=None if k == 0 else pool(through, s).flatten(0, 1)
            )
            z_q = repeat(out.z_q.view_as(rows), s)
            valid = _valid(rows, s, None, mask)
            share = 1.0 if keep is None else keep[:, None].expand(rows.shape[:2]).flatten()
            losses.append((row_mean(out.commitment * share, valid), row_mean(out.codebook * share, valid)))
            total = total + (z_q if keep is None else torch.where(keep[:, None, None], z_q, 0.0))
            left, through = left - z_q.detach(), through - z_q
        if not self._projected_levels():  # one estimator around the sum: per level the rotations would compound
            total = estimate(inner.flatten(0, 1), total.detach().flatten(0, 1), self.config.gradient).view_as(total)
        commitment, codebook = (torch.stack(x) for x in zip(*losses, strict=True))
        return StackResult(self._up(total), commitment, codebook)

    def decode_stack(self, ids: Tensor) -> Tensor:
        """Return rows `[B, L, D]` of ids `[K', B, L]`, any K' >= 1."""
        if self.config.split_first:
            first = self.first.decode_stack(ids[: self.split])
            return first + self.rest.decode_stack(ids[self.split :]) if len(ids) > self.split else first
        total: Tensor | None = None
        for level, at, s in zip(self.levels, ids, self.strides, strict=False):
            z_q = repeat(level.decode_rows(at[:, ::s].flatten()).view(*at[:, ::s].shape, -1), s)
            total = z_q if total is None else total + z_q
        assert total is not None
        return self._up(total)

    def _projected_levels(self) -> bool:
        return bool(self.config.codebook_dim) and self.config.projection == "level"

    def _up(self, rows: Tensor) -> Tensor:
        return rows if self.out_proj is None else _linear3(rows, self.out_proj)


def pool(rows: Tensor, stride: int) -> Tensor:
    """Mean of each `stride` positions, `[B, L, D] -> [B, L / stride, D]`."""
    if stride == 1:
        return rows
    if rows.shape[1] % stride:
        raise ValueError(f"L = {rows.shape[1]} positions, but a level has stride {stride}; pad L to a multiple of all strides.")
    total = rows[:, ::stride]
    for i in range(1, stride):  # in this order always, whatever B is
        total = total + rows[:, i::stride]
    return total / stride


def repeat(x: Tensor, stride: int) -> Tensor:
    """Each position `stride` times, `[B, L / stride, ...] -> [B, L, ...]`."""
    return x if stride == 1 else x.repeat_interleave(stride, dim=1)


def _valid(rows: Tensor, stride: int, keep: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Bool `[B L / stride]`: rows all of whose positions are valid, of items that keep the level; None: all."""
    if keep is None and mask is None:
        return None
    out = rows.new_ones(rows.shape[:2], dtype=torch.bool) if mask is None else mask.unflatten(1, (-1, stride)).all(2)
    return (out if keep is None else out & keep[:, None]).flatten()


def _linear3(z: Tensor, proj: nn.Linear) -> Tensor:
    return steady_linear(z.flatten(0, 1), proj.weight, proj.bias).view(*z.shape[:2], -1)


def _level_config(config: ResidualVQConfig, width: int, size: int) -> VQConfig:
    table = {f.name: getattr(config, f.name) for f in dataclasses.fields(TableConfig)}
    table |= {"dim": width, "codebook_dim": 0 if config.projection == "shared" else config.codebook_dim}
    return VQConfig(**table, codebook_size=size)


def _part(config: ResidualVQConfig, part: slice) -> ResidualVQConfig:
    sizes = config.sizes[part]
    return dataclasses.replace(
        config, num_codebooks=len(sizes), codebook_size=sizes, strides=config.strides[part], dropout=0.0, split_first=False
    )
