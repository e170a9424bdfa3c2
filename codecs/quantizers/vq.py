"""One table of code vectors: VQ-VAE, VQGAN, factorised and cosine lookup.

Sources: VQ-VAE (arXiv 1711.00937), SoundStream (arXiv 2107.03312: k-means start, replacement), ViT-VQGAN (arXiv 2110.04627: low
dimension, length 1), rotation trick (arXiv 2410.06424).
Letters: B batch, D latent width, L positions, V codebook size, N = B L rows, d width of the table.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ConfigError
from .base import Quantized, Quantizer, straight_through
from .codebook import Codebook, TableConfig, apply_updates
from .nearest import unit


@dataclass(frozen=True, kw_only=True)
class VQConfig(TableConfig):
    """One codebook. `codebook_size` is V; everything else is in `TableConfig`."""

    kind: ClassVar[str] = "vq"

    codebook_size: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codebook_size < 1:
            raise ConfigError(f"codebook_size is {self.codebook_size}; it must be at least 1.")

    @classmethod
    def quantizer_class(cls) -> type[Quantizer]:
        return VQ


class RowTerms(NamedTuple):
    """What one table gives for rows `[N, D]`: results with gradients, and unreduced losses."""

    z_q: Tensor  #: [N, D], value exactly the decoded id, gradient the estimator's
    commitment: Tensor  #: [N], mean over d of (z - sg(z_q))^2
    codebook: Tensor  #: [N], mean over d of (sg(z) - z_q)^2; zeros with `update = "ema"`


class VQ(Quantizer):
    """Quantizer with one table; the levels of residual and grouped kinds are of this class as well.

    Their rows `[N, D]` go through `search_rows`, `row_terms`, `decode_rows`; `forward` and `encode` do the same for `[B, D, L]`.
    """

    config: VQConfig
    codebook: Codebook

    def __init__(self, config: VQConfig, *, shared: Codebook | None = None) -> None:
        """Args:
        config: with `dim` filled in.
        shared: a table owned by somebody else, used instead of an own one (and not part of this module's state).
        """
        super().__init__(config, (config.codebook_size,))
        self.in_proj = self.out_proj = None
        if config.codebook_dim:
            self.in_proj = nn.Linear(config.dim, config.codebook_dim, bias=config.proj_bias)
            self.out_proj = nn.Linear(config.codebook_dim, config.dim, bias=config.proj_bias)
        if shared is None:
            self.codebook = Codebook(config.codebook_size, config.table_dim, config)
        else:
            self.__dict__["codebook"] = shared  # not registered: one table appears once in the checkpoint

    # --- rows -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def project_rows(self, z: Tensor) -> Tensor:
        """Rows `[N, D]` in the space of the table, `[N, d]`, rounded the same way for every N."""
        return z if self.in_proj is None else steady_linear(z, self.in_proj.weight, self.in_proj.bias)

    @torch.no_grad()
    def search_rows(self, z: Tensor) -> Tensor:
        """Ids int64 `[N]` of rows `[N, D]`; used by `encode` and by training."""
        return self.codebook.search(self.project_rows(z))

    def decode_rows(self, ids: Tensor) -> Tensor:
        """Rows `[N, D]` of ids `[N]`."""
        return self._up(self.codebook.vectors(ids))

    def row_terms(self, z: Tensor, ids: Tensor, *, through: Tensor | None = None) -> RowTerms:
        """Decoded rows and losses of rows `[N, D]` whose ids `[N]` are known.

        Args:
            through: rows of the same value as `z` that the result's gradient goes to, when it is not `z` itself.
        """
        p = self._down(z)  # [N, d]
        q = self.codebook.vectors(ids)  # [N, d]
        commitment = (p - q.detach()).square().mean(dim=1)
        codebook = torch.zeros_like(commitment)
        if self.config.update == "gradient":
            codebook = (p.detach() - q).square().mean(dim=1)
        towards = p if through is None else self._down(through)
        return RowTerms(self._up(estimate(towards, q.detach(), self.config.gradient)), commitment, codebook)

    def prepare(self, z: Tensor) -> None:
        """Before the lookup of a training step: give valid rows `[N, D]` to the k-means start."""
        if self.training and not self.frozen and not self.codebook.is_ready():
            self.codebook.prepare(self.project_rows(z))

    def observe(self, z: Tensor, ids: Tensor) -> None:
        """After it: remember valid rows `[N, D]` and ids `[N]` for the update of the table."""
        if self.training and not self.frozen:
            self.codebook.observe(self.project_rows(z), ids)

    def _down(self, z: Tensor) -> Tensor:
        p = z if self.in_proj is None else self.in_proj(z)
        return unit(p) if self.config.returns == "normalized" else p

    def _up(self, q: Tensor) -> Tensor:
        return q if self.out_proj is None else steady_linear(q, self.out_proj.weight, self.out_proj.bias)

    # --- Quantizer --------------------------------------------------------------------------------------------------

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        batch, _, length = z.shape
        rows = to_rows(z)  # [N, D]
        keep = None if mask is None else mask.flatten()  # [N]
        self.prepare(select(rows.detach(), keep))
        ids = self.search_rows(rows.detach())
        terms = self.row_terms(rows, ids)
        commitment, codebook = row_mean(terms.commitment, keep), row_mean(terms.codebook, keep)
        self.observe(select(rows.detach(), keep), select(ids, keep))
        if self.training and not self.frozen:
            apply_updates([self.codebook])
        loss = self.config.commitment_weight * commitment + self.config.codebook_weight * codebook
        metrics = {"commitment": commitment.detach()}
        return Quantized(from_rows(terms.z_q, batch), ids.view(batch, 1, length), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.search_rows(to_rows(z)).view(z.shape[0], 1, z.shape[2])

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return from_rows(self.decode_rows(ids.flatten()), ids.shape[0])


# --- helpers that all table quantizers use --------------------------------------------------------------------------


def to_rows(z: Tensor) -> Tensor:
    """`[B, D, L] -> [B L, D]`, contiguous."""
    return z.transpose(1, 2).reshape(-1, z.shape[1]).contiguous()


def from_rows(rows: Tensor, batch: int) -> Tensor:
    """`[B L, D] -> [B, D, L]`."""
    length = rows.shape[0] // batch if batch else 0
    return rows.view(batch, length, rows.shape[1]).transpose(1, 2)


def select(rows: Tensor, keep: Tensor | None) -> Tensor:
    """Rows `[N, ...]` where `keep [N]` holds (all without one)."""
    return rows if keep is None else rows[keep]


def row_mean(values: Tensor, keep: Tensor | None) -> Tensor:
    """Mean of `[N]` over the rows that `keep [N]` marks; 0 when there are none."""
    if keep is None:
        return values.mean() if values.numel() else values.sum()
    return (values * keep).sum() / keep.sum().clamp(min=1)


def estimate(z: Tensor, z_q: Tensor, gradient: str) -> Tensor:
    """Value exactly `z_q [N, d]`; gradient to `z [N, d]` by the named estimator."""
    return rotate(z, z_q) if gradient == "rotation" else straight_through(z, z_q)


def rotate(z: Tensor, z_q: Tensor) -> Tensor:
    """Value exactly `z_q`; gradient of the rotation and rescaling that takes `z` to `z_q`, held constant.

    Fifty et al. 2024, "Restructuring Vector Quantization with the Rotation Trick", arXiv 2410.06424, section 4.2.
    """
    return _Rotate.apply(z, z_q)  # type: ignore[no-any-return]


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_q: Tensor) -> Tensor:
        ctx.save_for_backward(z, z_q)
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        # forward map: s (I - 2 r r' + 2 q u') z with u, q the directions of z and z_q, r that of u + q; here transposed
        z, z_q = ctx.saved_tensors
        u, q = F.normalize(z, dim=-1), F.normalize(z_q, dim=-1)
        r = F.normalize(u + q, dim=-1)
        scale = z_q.norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        turned = grad - 2 * r * (r * grad).sum(-1, keepdim=True) + 2 * u * (q * grad).sum(-1, keepdim=True)
        return scale * turned, None


def steady_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x [N, i] @ weight [o, i].T + bias`, the same for a row whatever the other rows are.

    A float32 product may add in another order for another N, which moves the last bit and, once in a million lookups, an id.
    Here it is rounded once, from float64; the gradient is the ordinary float32 one.
    """
    return _SteadyLinear.apply(x, weight, bias)  # type: ignore[no-any-return]


class _SteadyLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        wide = torch.float32 if x.device.type == "mps" else torch.float64  # Apple GPUs have no float64
        return F.linear(x.to(wide), weight.to(wide), None if bias is None else bias.to(wide)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            grad @ weight if need_x else None,
            grad.t() @ x if need_weight else None,
            grad.sum(0) if need_bias else None,
        )
