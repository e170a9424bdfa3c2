"""One table of code vectors: VQ-VAE, VQGAN, factorised and cosine lookup.

Sources: VQ-VAE (arXiv 1711.00937), SoundStream (arXiv 2107.03312: k-means start, replacement), ViT-VQGAN (arXiv
2110.04627: low dimension, length 1), rotation trick (arXiv 2410.06424).
Letters: B batch, D latent width, L positions, V codebook size, N = B L rows, d width of the table.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..config import ConfigError
from .base import Quantizer
from .parts.codebook import Codebook, TableConfig
from .parts.nearest import nearest_codes
from .parts.rows import Maps, RowQuantizer, RowTerms, estimate, linear, select, steady_linear, weights


@dataclass(frozen=True, kw_only=True)
class VQConfig(TableConfig):
    """Settings of `VQ`. `codebook_size` is V; all others are in `TableConfig`."""

    kind: ClassVar[str] = "vq"

    codebook_size: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codebook_size < 1:
            raise ConfigError(f"codebook_size is {self.codebook_size}; it must be at least 1.")

    def quantizer_class(self) -> type[Quantizer]:
        return VQ


class VQ(RowQuantizer):
    """One table: `ids = argmin |down(z) - embed|`, `z_q = up(embed[ids])`; a level of most other kinds too."""

    config: VQConfig
    codebook: Codebook

    def __init__(self, config: VQConfig, *, shared: Codebook | None = None, out_dim: int | None = None) -> None:
        """Args:
        config: settings, with `dim` filled in.
        shared: codebook of another module to use instead of a new one; it is not part of this module's state dict.
        out_dim: width of the result, if it is not that of the latents (needs `codebook_dim`).
        """
        super().__init__(config, (config.codebook_size,))
        self.in_proj = self.out_proj = None
        if config.codebook_dim:
            self.in_proj = nn.Linear(config.dim, config.codebook_dim, bias=config.proj_bias)
            self.out_proj = nn.Linear(config.codebook_dim, out_dim or config.dim, bias=config.proj_bias)
        if shared is None:
            self.codebook = Codebook(config.codebook_size, config.table_dim, config)
        else:
            self.__dict__["codebook"] = shared  # not registered: one table appears once in the checkpoint

    def codebooks(self) -> list[Codebook]:
        return [] if self.frozen else [self.codebook]

    def is_ready(self) -> bool:
        return self.codebook.is_ready()

    def assign(self, rows: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True) -> Tensor:
        p = rows if self.in_proj is None else steady_linear(rows, self.in_proj.weight, self.in_proj.bias)
        return self.assign_projected(p, keep=keep, update=update, start=start)

    def decode_rows(self, ids: Tensor) -> Tensor:
        return self._up(self.codebook.vectors(ids))

    @torch.no_grad()
    def nearest(self, rows: Tensor, count: int) -> Tensor:
        """The `count` nearest codes, nearest first, int64 `[N, min(count, V)]`, of rows `[N, D]`."""
        p = rows if self.in_proj is None else steady_linear(rows, self.in_proj.weight, self.in_proj.bias)
        return nearest_codes(self.codebook.space(p), self.codebook.space(self.codebook.embed.float()), count)

    def row_terms(self, z: Tensor, ids: Tensor, *, through: Tensor | None = None) -> RowTerms:
        p = self._down(z)
        out = self.narrow_terms(p, ids, through=p if through is None else self._down(through))
        return RowTerms(self._up(out.z_q), out.commitment, out.codebook)

    # --- the same in the space of the table, for levels of a residual stack (`factorised.py`) -----------------------

    def observe(self, rows: Tensor, ids: Tensor, keep: Tensor | None) -> None:
        """Collect statistics of rows `[N, D]` whose ids `[N]` are known; `keep` as in `assign`."""
        p = rows if self.in_proj is None else steady_linear(rows, self.in_proj.weight, self.in_proj.bias)
        self.codebook.observe(select(p, keep), select(ids, keep))

    @torch.no_grad()
    def assign_projected(
        self, p: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True
    ) -> Tensor:
        """`assign` for rows `[N, d]` that are mapped down already."""
        update = update and not self.frozen
        if update and start and not self.codebook.is_ready():
            self.codebook.prepare(select(p, keep))
        ids = self.codebook.search(p)
        if update:
            self.codebook.observe(select(p, keep), select(ids, keep))
        return ids

    def narrow_terms(self, p: Tensor, ids: Tensor, *, through: Tensor) -> RowTerms:
        """`row_terms` for projected rows: `p [N, d]` is mapped down already, `z_q [N, d]` not yet mapped up."""
        q = self.codebook.vectors(ids)  # [N, d]
        p, through = self.codebook.returned(p), self.codebook.returned(through)
        return RowTerms(estimate(through, q.detach(), self.config.gradient), *self.codebook.row_losses(p, q))

    def narrow_vectors(self, ids: Tensor) -> Tensor:
        """Vectors `[N, d]` of ids `[N]`, before the map up."""
        return self.codebook.vectors(ids)

    def maps(self) -> Maps:
        """The maps down and up as float32 matrices and vectors, with gradients."""
        assert self.in_proj is not None and self.out_proj is not None
        return Maps(*weights(self.in_proj), *weights(self.out_proj))

    def _down(self, z: Tensor) -> Tensor:
        return z if self.in_proj is None else linear(z, self.in_proj)

    def _up(self, q: Tensor) -> Tensor:
        return q if self.out_proj is None else steady_linear(q, self.out_proj.weight, self.out_proj.bias)
