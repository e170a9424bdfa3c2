"""Shared code of the quantizers with one id per vector: rows `[N, D]` instead of latents `[B, D, L]`, losses, gradient
estimators, and linear maps whose result for a row does not depend on the rest of the batch.

Letters: B batch, D latent width, L positions, N = B L rows, d width of a table.
"""

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import Quantized, Quantizer, straight_through
from .codebook import Codebook, apply_updates
from .nearest import wide


class RowTerms(NamedTuple):
    """Output of one quantizer for rows `[N, D]`: quantized rows with gradients, and losses of each row."""

    z_q: Tensor  #: [N, D], value exactly the decoded id, gradient that of the estimator
    commitment: Tensor  #: [N], mean over channels of (z - sg(z_q))^2
    codebook: Tensor  #: [N], mean over channels of (sg(z) - z_q)^2; zeros where the table has no such loss


class Maps(NamedTuple):
    """The linear maps of a level into the space of its tables and back."""

    down: Tensor  #: [d, D]
    down_bias: Tensor  #: [d]
    up: Tensor  #: [D, d]
    up_bias: Tensor  #: [D]


class RowQuantizer(Quantizer):
    """One id for each position, which depends on no other position; also used as a level of residual and multi-scale kinds.

    Subclasses write `assign`, `decode_rows`, `row_terms`, and `codebooks` if they have tables with running statistics.
    Their configs have `commitment_weight` and `codebook_weight`.
    """

    config: Any  # each kind says of which class; they have no base of their own

    def assign(self, rows: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True) -> Tensor:
        """Return ids int64 `[N]` of rows `[N, D]`.

        Args:
            rows: `[N, D]`; ids have no gradient.
            keep: bool `[N]`, rows that count in statistics; None: all.
            update: initialise the tables by k-means if needed, and collect their statistics.
            start: False: do not initialise a table yet (that of a residual level waits for the level before it).
        """
        raise NotImplementedError

    def decode_rows(self, ids: Tensor) -> Tensor:
        """Decoded rows `[N, D]` of ids `[N]`."""
        raise NotImplementedError

    def row_terms(self, z: Tensor, ids: Tensor, *, through: Tensor | None = None) -> RowTerms:
        """Decoded rows and losses of rows `[N, D]` with known ids `[N]`.

        Args:
            z: rows `[N, D]`.
            ids: `[N]`.
            through: rows with the values of `z` that receive the gradient of the decoded rows; None: `z` itself.
        """
        raise NotImplementedError

    def codebooks(self) -> list[Codebook]:
        """The tables that `apply_updates` updates in training."""
        return []

    def is_ready(self) -> bool:
        """False while k-means has not yet initialised all tables."""
        return all(book.is_ready() for book in self.codebooks())

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Ids int64 `[N]` of rows `[N, D]`, without any change of state."""
        return self.assign(rows)

    # --- Quantizer --------------------------------------------------------------------------------------------------

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        rows = to_rows(z)  # [N, D]
        keep = None if mask is None else mask.flatten()  # [N]
        update = self.training and not self.frozen
        with torch.no_grad():
            ids = self.assign(rows.detach(), keep=keep, update=update)
        return self._with_ids(z, rows, ids, keep, update)

    def _with_ids(self, z: Tensor, rows: Tensor, ids: Tensor, keep: Tensor | None, update: bool) -> Quantized:
        """Quantized latents `z`, of which `rows` `[N, D]` are the rows, with known ids `[N]`."""
        terms = self.row_terms(rows, ids)
        if update:
            apply_updates(self.codebooks())
        commitment, codebook = row_mean(terms.commitment, keep), row_mean(terms.codebook, keep)
        loss = self.config.commitment_weight * commitment + self.config.codebook_weight * codebook
        metrics = {"commitment": commitment.detach()}
        return Quantized(from_rows(terms.z_q, z), self._split_ids(ids, z), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self._split_ids(self.search_rows(to_rows(z)), z)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return from_rows(self.decode_rows(self._join_ids(ids)), ids)

    def _split_ids(self, ids: Tensor, z: Tensor) -> Tensor:
        """Ids `[N] -> [B, K, L]`, with B and L of the latents `z [B, D, L]`."""
        return ids.view(len(z), 1, z.shape[-1])

    def _join_ids(self, ids: Tensor) -> Tensor:
        """Ids `[B, K, L] -> [N]`, the inverse of `_split_ids`."""
        return ids.reshape(-1)


# --- rows -------------------------------------------------------------------------------------------------------------


def to_rows(z: Tensor) -> Tensor:
    """Latents `[B, D, L]` to rows `[B L, D]`, contiguous."""
    return z.transpose(1, 2).reshape(-1, z.shape[1]).contiguous()


def feature_rows(features: Tensor, dim: int) -> Tensor:
    """Features `[N, D]` or latents `[B, D, L]` that a quantizer is fitted to, as float32 rows `[N, D]`.

    Raises:
        ValueError: another rank or width, or none at all.
    """
    rows = (to_rows(features) if features.ndim == 3 else features).float()
    if rows.ndim != 2 or rows.shape[1] != dim or not len(rows):
        raise ValueError(f"fit takes features [N, D={dim}] or [B, {dim}, L]; got {list(features.shape)}.")
    return rows


def from_rows(rows: Tensor, like: Tensor) -> Tensor:
    """Rows `[B L, D]` to latents `[B, D, L]`, with B and L of `like [B, ..., L]` (also for 0 rows)."""
    return rows.view(len(like), like.shape[-1], rows.shape[1]).transpose(1, 2)


def select(rows: Tensor, keep: Tensor | None) -> Tensor:
    """Rows `[N, ...]` where bool `keep [N]` is True; None: all."""
    return rows if keep is None else rows[keep]


def row_mean(values: Tensor, keep: Tensor | None) -> Tensor:
    """Mean of `[N]` over the rows that `keep [N]` marks; 0 when there are none."""
    if keep is None:
        return values.mean() if values.numel() else values.sum()
    return torch.where(keep, values, 0.0).sum() / keep.sum().clamp(min=1)


# --- estimators -------------------------------------------------------------------------------------------------------


def estimate(z: Tensor, z_q: Tensor, gradient: str) -> Tensor:
    """Value exactly `z_q [N, d]`; gradient to `z [N, d]` by the estimator `gradient`, "straight_through" or "rotation"."""
    return rotate(z, z_q) if gradient == "rotation" else straight_through(z, z_q)


def rotate(z: Tensor, z_q: Tensor) -> Tensor:
    """Value exactly `z_q`; gradient to `z` through the rotation and rescaling from `z` to `z_q`, treated as a constant.

    Fifty et al. 2024, "Restructuring Vector Quantization with the Rotation Trick", arXiv 2410.06424, section 4.2.
    """
    return _Rotate.apply(z, z_q)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_q: Tensor) -> Tensor:
        ctx.save_for_backward(z, z_q)
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # forward map: s (I - 2 r r' + 2 q u') z with u, q the directions of z and z_q, r that of u + q; here transposed
        z, z_q = ctx.saved_tensors
        u, q = F.normalize(z, dim=-1), F.normalize(z_q, dim=-1)
        r = F.normalize(u + q, dim=-1)
        scale = z_q.norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        rotated = grad - 2 * r * (r * grad).sum(-1, keepdim=True) + 2 * u * (q * grad).sum(-1, keepdim=True)
        return scale * rotated, None


# --- linear maps whose result for a row does not depend on the batch ---------------------------------------------------


def linear(x: Tensor, proj: nn.Linear) -> Tensor:
    """`proj(x)` in float32, whatever dtype the weights were cast to."""
    return F.linear(x, proj.weight.float(), None if proj.bias is None else proj.bias.float())


def weights(proj: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight `[o, i]` and bias `[o]` (zeros without one) in float32, with gradients."""
    weight = proj.weight.float()
    return weight, weight.new_zeros(len(weight)) if proj.bias is None else proj.bias.float()


def steady_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x [N, i] @ weight [o, i].T + bias`, with a result for each row that does not depend on the other rows.

    A float32 product may add in another order for another N, which changes the last bit and, once in a million lookups,
    an id. Here the product is computed in float64 and rounded once; the gradient is the ordinary float32 one.
    """
    return _SteadyLinear.apply(x, weight.float(), None if bias is None else bias.float())


def steady_conv2d(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`conv(x)` of pictures `[B, C, H, W]`, with a result for each that does not depend on the others (stride 1, zero padding)."""
    bias = None if conv.bias is None else conv.bias.float()
    if torch.compiler.is_exporting():
        return _by_taps(x, conv)
    return _SteadyConv.apply(x, conv.weight.float(), bias, conv.padding)


def _by_taps(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The same as a matrix product for each tap of the kernel: ONNX Runtime has products in float64, but no convolutions."""
    (h, w), (pad_h, pad_w) = x.shape[2:], map(int, conv.padding)
    rows = F.pad(wide(x), (pad_w, pad_w, pad_h, pad_h)).movedim(1, 3)  # [B, H', W', C]
    total = wide(x.new_zeros(len(conv.weight)) if conv.bias is None else conv.bias)
    for i, j in itertools.product(*map(range, conv.weight.shape[2:])):
        total = total + rows[:, i : i + h, j : j + w] @ wide(conv.weight[:, :, i, j]).t()
    return total.movedim(3, 1).to(x.dtype)


class _SteadyConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.biased = padding, bias is not None
        return F.conv2d(wide(x), wide(weight), None if bias is None else wide(bias), padding=padding).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        need = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.biased and ctx.needs_input_grad[2]]
        sizes = [len(weight)] if ctx.biased else None
        grads = torch.ops.aten.convolution_backward(
            grad, x, weight, sizes, [1, 1], list(ctx.padding), [1, 1], False, [0, 0], 1, need
        )
        return grads[0], grads[1], grads[2] if ctx.biased else None, None


class _SteadyLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(wide(x), wide(weight), None if bias is None else wide(bias)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            grad @ weight if need_x else None,
            grad.t() @ x if need_weight else None,
            grad.sum(0) if need_bias else None,
        )
