"""SimVQ: a frozen table, transformed by one learned linear map.

Zhu et al. 2024, "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer", arXiv
2411.02038. Training the map moves all codes at once, so that none stays unused. Used by ILLUME+ (DualViTok).
Letters: B batch, D latent width, L positions, V codebook size, N = B L rows, d width of the table.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig
from .parts.nearest import nearest_code, unit
from .parts.rows import RowQuantizer, RowTerms, estimate, steady_linear, to_rows


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
        bias: whether the map has a bias (TA-Tok).
        normalize: scale latents and mapped codes to length 1, for lookup and result (TA-Tok).
    """

    kind: ClassVar[str] = "simvq"

    codebook_size: int = 16384
    table_dim: int = 0
    commitment_weight: float = 0.25
    codebook_weight: float = 1.0
    gradient: Literal["straight_through", "rotation"] = "straight_through"
    bias: bool = False
    normalize: bool = False

    def __post_init__(self) -> None:
        if self.codebook_size < 1:
            raise ConfigError(f"codebook_size is {self.codebook_size}; it must be at least 1.")

    def quantizer_class(self) -> type[Quantizer]:
        return SimVQ


#: Mapped tables of quantizers in eval mode, each with what it was made of; not part of the module, so that no copy or file holds them.
_KEPT: "WeakKeyDictionary[SimVQ, tuple[tuple[Any, ...], Tensor]]" = WeakKeyDictionary()


class SimVQ(RowQuantizer):
    """codes = transform(table), id = nearest code; the codebook term trains the map only."""

    config: SimVQConfig
    table: Tensor

    def __init__(self, config: SimVQConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        width = config.table_dim or config.dim
        self.register_buffer("table", torch.randn(config.codebook_size, width) * width**-0.5)
        self.transform = nn.Linear(width, config.dim, bias=config.bias)

    @torch.no_grad()
    def assign(self, rows: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True) -> Tensor:
        return nearest_code(self._space(rows), self.codes())

    def forward_within(self, z: Tensor, first: Tensor, last: Tensor) -> Quantized:
        """Quantize latents for training, as `forward`, each item with the codes of a part of the table.

        Args:
            z: `[B, D, L]`.
            first, last: int64 `[B]`; the codes of an item are `first` to `last - 1`.
        """
        self._check_latents(z)
        with torch.autocast(z.device.type, enabled=False):
            wide = z.float()
            out = self._with_ids(wide, to_rows(wide), self.search_within(wide, first, last).flatten(), None, False)
        if self.training:
            self.window.record(out.ids, None)
        return dataclasses.replace(out, z_q=out.z_q.to(z.dtype))

    @torch.no_grad()
    def search_within(self, z: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Ids int64 `[B, 1, L]` of latents `[B, D, L]`, each item's among `first` to `last - 1`, int64 `[B]`."""
        codes, out = self.codes(), z.new_empty((len(z), 1, z.shape[-1]), dtype=torch.int64)
        for low, high in torch.stack([first, last], dim=1).unique(dim=0).tolist():
            items = (first == low) & (last == high)
            rows = self._space(to_rows(z[items].float()))
            out[items] = (nearest_code(rows, codes[low:high]) + low).view(-1, 1, z.shape[-1])
        return out

    def decode_rows(self, ids: Tensor) -> Tensor:
        # Only the chosen rows pass through the map: bit for bit the rows of the mapped table, whose V rows instead of N cost more.
        return self._mapped(F.embedding(ids, self.table.float()))

    def codes(self) -> Tensor:
        """All V codes `[V, D]`; in eval mode they are kept until a weight changes, as the map of a wide table takes seconds."""
        if self.training or torch.compiler.is_compiling() or self.table.is_meta:
            return self._mapped(self.table.float())
        parts = (self.table, self.transform.weight, *(() if self.transform.bias is None else (self.transform.bias,)))
        # values that were set through `.data` leave the version as it is, hence the sums; on a GPU they would cost a synchronisation
        sums = [float(p.detach().sum()) if p.device.type == "cpu" else 0.0 for p in parts]
        now = tuple((p._version, p.data_ptr(), p.device, p.dtype, s) for p, s in zip(parts, sums, strict=True))
        kept = _KEPT.get(self)
        if kept is None or kept[0] != now:
            kept = _KEPT[self] = (now, self._mapped(self.table.float()).detach())
        return kept[1]

    def _mapped(self, rows: Tensor) -> Tensor:
        return self._space(steady_linear(rows, self.transform.weight, self.transform.bias))

    def _space(self, rows: Tensor) -> Tensor:
        return unit(rows) if self.config.normalize else rows

    def row_terms(self, z: Tensor, ids: Tensor, *, through: Tensor | None = None) -> RowTerms:
        q, z = self.decode_rows(ids), self._space(z)
        z_q = estimate(z if through is None else self._space(through), q.detach(), self.config.gradient)
        return RowTerms(z_q, (z - q.detach()).square().mean(1), (z.detach() - q).square().mean(1))
