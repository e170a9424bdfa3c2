"""Shared code of residual stacks: conversion to rows, dropout of an item's last levels, losses summed over levels.

Letters: B batch, D latent width, L positions, K levels, s stride of a level.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..base import Quantized, Quantizer
from .codebook import Codebook, apply_updates
from .rows import row_mean


class StackResult(NamedTuple):
    """Output of a stack for rows `[B, L, D]`."""

    z_q: Tensor  #: [B, L, D], with gradients
    commitment: Tensor  #: [K], commitment loss of each level
    codebook: Tensor  #: [K], codebook loss of each level


class ResidualStack(Quantizer):
    """K levels, ids `[B, K, L]`; the first n levels can be decoded without the others. In training, z_q of an item with dropout is
    that of its first n levels.

    The loss is the sum over levels, each a mean over all valid positions (dropped levels count as 0, as in DAC). EnCodec takes
    the mean over levels: divide the weights by K. Subclasses write `codebooks`, `search`, `terms` and `decode_stack`; their
    configs have `commitment_weight`, `codebook_weight` and `dropout`.
    """

    prefix_decodable = True
    config: Any

    # --- for subclasses: the stack, on rows [B, L, D] -----------------------------------------------------------------

    def codebooks(self) -> list[Codebook]:
        """The tables that are updated in training, a shared one once; none if the quantizer is frozen."""
        raise NotImplementedError

    def search(
        self, z: Tensor, num: int, *, kept: Tensor | None = None, mask: Tensor | None = None, update: bool = False
    ) -> Tensor:
        """Return ids int64 `[num, B, L]` of rows `[B, L, D]`, without gradients.

        Args:
            z: rows `[B, L, D]`.
            num: number of levels to search.
            kept: bool `[K, B]`, as in `terms`.
            mask: bool `[B, L]`, valid positions.
            update: initialise the tables by k-means if needed, and collect their statistics (of valid rows of kept levels).
        """
        raise NotImplementedError

    def terms(self, z: Tensor, ids: Tensor, *, kept: Tensor | None = None, mask: Tensor | None = None) -> StackResult:
        """Return quantized rows and losses, with gradients, of rows `[B, L, D]` with known ids `[K, B, L]`.

        Code vectors are subtracted from the residual as constants, so that the loss of every level has a gradient to the latent.

        Args:
            z: rows `[B, L, D]`.
            ids: ids of all K levels.
            kept: bool `[K, B]`, the levels that each item keeps; None: all.
            mask: bool `[B, L]`, valid positions.
        """
        raise NotImplementedError

    def decode_stack(self, ids: Tensor) -> Tensor:
        """Return rows `[B, L, D]` of ids `[K', B, L]` of the first K' levels, 1 <= K' <= K."""
        raise NotImplementedError

    # --- Quantizer ----------------------------------------------------------------------------------------------------

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        out = self.quantize_stack(z, mask)
        if self.training and not self.frozen:
            apply_updates(self.codebooks())
        return out

    def quantize_stack(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """`forward` on float32 latents `[B, D, L]`, but without the update of the tables: call `apply_updates` after it."""
        rows = z.transpose(1, 2).contiguous()  # [B, L, D]
        kept = self._draw_levels(rows.shape[0], z.device)  # [K, B] or None
        update = self.training and not self.frozen
        ids = self.search(rows.detach(), self.num_codebooks, kept=kept, mask=mask, update=update)
        out = self.terms(rows, ids, kept=kept, mask=mask)
        c = self.config
        loss = c.commitment_weight * out.commitment.sum() + c.codebook_weight * out.codebook.sum()
        metrics = {"commitment": out.commitment.detach().mean()}
        return Quantized(out.z_q.transpose(1, 2), ids.transpose(0, 1), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.search(z.transpose(1, 2), num_codebooks).transpose(0, 1).contiguous()

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return self.decode_stack(ids.transpose(0, 1)).transpose(1, 2)

    def _draw_levels(self, batch: int, device: torch.device) -> Tensor | None:
        """Draw which levels each item keeps, bool `[K, B]`; None: all levels."""
        if not self.training or self.config.dropout == 0:
            return None
        num = self.num_codebooks
        count = torch.randint(1, num + 1, (batch,), device=device)
        count = torch.where(torch.rand(batch, device=device) < self.config.dropout, count, num)
        return torch.arange(num, device=device).unsqueeze(1) < count


def level_losses(
    rows: tuple[Tensor, Tensor], shape: torch.Size, keep: Tensor | None, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Means of two losses `[B L]` of a level over the valid rows, 0 for items `[B]` that drop it."""
    share = 1.0 if keep is None else keep[:, None].expand(shape).flatten()
    return row_mean(rows[0] * share, valid), row_mean(rows[1] * share, valid)


def valid_rows(shape: torch.Size, stride: int, keep: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Bool `[B L / s]`: rows of items that keep the level, with all `stride` positions valid; None: all rows."""
    if mask is not None:
        out = mask.unflatten(1, (-1, stride)).all(2)  # [B, L / s]
        return (out if keep is None else out & keep[:, None]).flatten()
    return None if keep is None else keep[:, None].expand(shape[0], shape[1] // stride).flatten()
