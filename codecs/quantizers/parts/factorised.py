"""Residual levels with separate projections, computed in the narrow spaces between the projections.

The input of level k is `down_k(z - sum over j < k of up_j(v_j)) = down_k(z) - sum (down_k up_j)(v_j) - constants` with v_j the
vectors of the levels before it, and `down_k up_j` is a small matrix. So only one product at the start (all maps down) and one at
the end (all maps up) have the width D: with 1024 channels and tables of width 8, a hundredth of the work of subtracting level by
level.

Letters: B batch, L positions, D width of the stack, K levels, d_k width of level k's table, s stride of a level.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..product_vq import ProductVQ
from ..vq import VQ
from .nearest import wide
from .rows import RowQuantizer, RowTerms, steady_linear


class PlainResidual:
    """The residual that the next level quantizes, for levels without maps: the residual itself, `[B, L, D]`."""

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
    """The residual for levels with maps, in the input spaces of all levels: `[B, L, sum of d_k]`.

    In float64, rounded once to float32 before each lookup, so that ids do not depend on the shape of the products.
    """

    def __init__(self, z: Tensor, levels: Sequence[VQ | ProductVQ]) -> None:
        self.levels, self.maps = levels, [level.maps() for level in levels]
        self.down = wide(torch.cat([m.down for m in self.maps]))  # [sum d, D]
        bias = wide(torch.cat([m.down_bias for m in self.maps]))
        # A batched product takes [B, L, D] in any memory layout: latents are wide, and copying them transposed would cost more.
        self.inputs = torch.baddbmm(bias, wide(z), self.down.t().expand(len(z), -1, -1))  # [B, L, sum d]

    def step(self, k: int, stride: int, *, keep: Tensor | None, update: bool, start: bool) -> Tensor:
        """Ids `[B, L]` of level k (see `RowQuantizer.assign`); its vectors are subtracted from the inputs of the later levels."""
        level, maps = self.levels[k], self.maps[k]
        width = len(maps.down)
        mine, self.inputs, self.down = self.inputs[..., :width], self.inputs[..., width:], self.down[width:]
        rows = pool(mine, stride).float()  # [B, L / s, d]
        ids = level.assign_projected(rows.flatten(0, 1), keep=keep, update=update, start=start)
        if len(self.down):
            both = self.down @ wide(maps.up)  # [rest, d]
            change = torch.addmm(self.down @ wide(maps.up_bias), wide(level.narrow_vectors(ids)), both.t())  # [N, rest]
            self.inputs = self.inputs - repeat(change.unflatten(0, rows.shape[:2]), stride)
        return repeat(ids.view(rows.shape[:2]), stride)


def factorised_terms(
    z: Tensor, ids: Tensor, levels: Sequence[VQ | ProductVQ], strides: Sequence[int], kept: Tensor | None
) -> tuple[Tensor, list[RowTerms]]:
    """Quantized rows and losses, with gradients, of rows `[B, L, D]` with known ids `[K, B, L]`.

    The input of each level is computed twice, with the same value. For its losses the vectors of earlier levels are constants:
    otherwise they would remove the gradient of all but the first level. For `z_q` they keep their gradients, as in DAC: otherwise
    K straight-through levels would multiply the gradient wherever their subspaces overlap.

    Args:
        z: rows `[B, L, D]`.
        ids: `[K, B, L]`, repeated to the full rate.
        levels: the K levels.
        strides: stride of each level.
        kept: bool `[K, B]`, levels that are added to `z_q` of each item; None: all.

    Returns:
        `z_q [B, L, D]`, and for each level its `RowTerms` between the maps, rows `[B L / s]`.
    """
    maps = [level.maps() for level in levels]
    inputs = F.linear(z, torch.cat([m.down for m in maps]), torch.cat([m.down_bias for m in maps]))
    terms, results, constants = [], [], []
    for k, (level, mine) in enumerate(zip(levels, inputs.split([len(m.down) for m in maps], dim=-1), strict=True)):
        left = through = mine  # [B, L, d]
        if k:
            up, bias = torch.cat([m.up for m in maps[:k]], dim=1), torch.stack([m.up_bias for m in maps[:k]]).sum(0)
            down = maps[k].down
            through = mine - F.linear(torch.cat(results, dim=-1), down @ up, down @ bias)
            left = mine - F.linear(torch.cat(constants, dim=-1), down @ up.detach(), down @ bias.detach())
        left, through = pool(left, strides[k]), pool(through, strides[k])
        at = ids[k][:, :: strides[k]].flatten()
        out = level.narrow_terms(left.flatten(0, 1), at, through=through.flatten(0, 1))
        terms.append(out)
        results.append(repeat(out.z_q.view_as(left), strides[k]))
        constants.append(results[-1].detach())
    return _map_up(results, levels, kept), terms


def factorised_decode(ids: Tensor, levels: Sequence[VQ | ProductVQ], strides: Sequence[int]) -> Tensor:
    """Rows `[B, L, D]` of ids `[K', B, L]` of the first K' levels."""
    vectors = []
    for at, level, s in zip(ids, levels, strides, strict=False):
        some = at[:, ::s]
        vectors.append(repeat(level.narrow_vectors(some.flatten()).unflatten(0, some.shape), s))
    return _map_up(vectors, levels[: len(ids)], None)


def _map_up(vectors: list[Tensor], levels: Sequence[VQ | ProductVQ], kept: Tensor | None) -> Tensor:
    """`[B, L, D]`, the sum of all maps up of vectors `[B, L, d_k]`, in one product rounded once."""
    maps = [level.maps() for level in levels]
    shape = vectors[0].shape[:2]
    present = vectors[0].new_ones(len(vectors), shape[0]) if kept is None else kept.to(vectors[0].dtype)  # [K, B]
    if kept is not None:
        vectors = [torch.where(on[:, None, None], v, 0.0) for on, v in zip(kept, vectors, strict=True)]
    ones = present.t().unsqueeze(1).expand(*shape, -1)  # [B, L, K]: biases are columns that dropped levels leave out
    rows = torch.cat([*vectors, ones], dim=-1).flatten(0, 1)
    weight = torch.cat([*(m.up for m in maps), torch.stack([m.up_bias for m in maps], dim=1)], dim=1)
    return steady_linear(rows, weight, None).unflatten(0, shape)


def pool(rows: Tensor, stride: int) -> Tensor:
    """Mean of each `stride` positions, `[B, L, D] -> [B, L / stride, D]`."""
    if stride == 1:
        return rows
    if rows.shape[1] % stride:
        raise ValueError(
            f"L = {rows.shape[1]} positions, but a level has stride {stride}; pad L to a multiple of all strides."
        )
    total = rows[:, ::stride]
    for i in range(1, stride):  # in this order always, whatever B is
        total = total + rows[:, i::stride]
    return total / stride


def repeat(x: Tensor, stride: int) -> Tensor:
    """Each position `stride` times, `[B, L / stride, ...] -> [B, L, ...]`."""
    return x if stride == 1 else x.repeat_interleave(stride, dim=1)
