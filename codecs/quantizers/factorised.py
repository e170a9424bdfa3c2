"""The search through residual levels: what each level gets to see, given the ids of those before it.

Letters: B batch, L positions, D width of the stack, d_k width of level k's table, V_k its size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .product_vq import ProductVQ
from .rows import RowQuantizer, wide
from .vq import VQ


class PlainResidual:
    """The residual itself, `[B, L, D]`."""

    def __init__(self, z: Tensor, levels: Sequence[RowQuantizer]) -> None:
        self.residual, self.levels = z.contiguous(), levels

    def step(self, k: int, stride: int, *, keep: Tensor | None, update: bool, start: bool) -> Tensor:
        """Ids `[B, L]` of level k (see `RowQuantizer.assign`); its vectors are subtracted."""
        rows = pool(self.residual, stride)  # [B, L / s, D]
        ids = self.levels[k].assign(rows.flatten(0, 1), keep=keep, update=update, start=start)
        z_q = self.levels[k].decode_rows(ids).view_as(rows)
        if k + 1 < len(self.levels):
            self.residual = self.residual - repeat(z_q, stride)
        return repeat(ids.view(rows.shape[:2]), stride)


class FactorisedResidual:
    """The residual as the levels' maps show it, `[B, L, sum of d_k]`, never D wide again after the first product.

    Level j sees `down_j(z - sum over k < j of up_k(code_k)) = down_j(z) - sum (down_j up_k)(code_k) - constants`, where
    `down_j up_k` is a small matrix: with 1024 channels and tables of 8, a hundredth of the work. All in float64,
    rounded once to float32 before the lookup, so that ids do not depend on the shape of the products.
    """

    def __init__(self, z: Tensor, levels: Sequence[VQ | ProductVQ]) -> None:
        self.levels = levels
        downs, self.ups = [level.down_map() for level in levels], [level.up_map() for level in levels]
        self.widths = [w.shape[0] for w, _ in downs]
        self.down = torch.cat([w for w, _ in downs])  # [sum d, D]
        bias = torch.cat([b for _, b in downs])
        # A batched product takes [B, L, D] as it lies in memory; latents are wide, and turning them over costs more than it.
        self.seen = torch.baddbmm(bias, wide(z), self.down.t().expand(len(z), -1, -1))  # [B, L, sum d]

    def step(self, k: int, stride: int, *, keep: Tensor | None, update: bool, start: bool) -> Tensor:
        """Ids `[B, L]` of level k (see `RowQuantizer.assign`); its vectors are subtracted from what is left to see."""
        width = self.widths[k]
        mine, self.seen = self.seen[..., :width], self.seen[..., width:]
        rows = pool(mine, stride).float()  # [B, L / s, d]
        level = self.levels[k]
        ids = level.assign_projected(rows.flatten(0, 1), keep=keep, update=update, start=start)
        self.down = self.down[width:]
        if len(self.down):
            weight, bias = self.ups[k]  # [D, d], [D]
            change = torch.addmm(self.down @ bias, wide(level.narrow_vectors(ids)), (self.down @ weight).t())  # [N, rest]
            self.seen = self.seen - repeat(change.view(*rows.shape[:2], -1), stride)
        return repeat(ids.view(rows.shape[:2]), stride)


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
