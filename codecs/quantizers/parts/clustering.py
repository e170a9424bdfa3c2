"""Sums and counts of rows for each code, random rows, and k-means, over the batches of all ranks with fixed-size collectives.

Letters: N rows, d their width, V codebook size, S segments (batches or levels), R ranks.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from .nearest import nearest_code


def dist_on() -> bool:
    """True inside an initialised process group of more than one rank."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def batch_statistics(rows: Tensor, ids: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Sum of the rows assigned to each code `[V, d]` and their number `[V]`, by scatter-add (no one-hot matrix)."""
    sums = rows.new_zeros(size, rows.shape[1]).scatter_add_(0, ids.unsqueeze(1).expand_as(rows), rows)
    if ids.device.type == "cpu":
        return sums, torch.bincount(ids, minlength=size).to(rows.dtype)
    # `bincount` has the host wait for the largest id
    return sums, ids.new_zeros(size).scatter_add_(0, ids, torch.ones_like(ids)).to(rows.dtype)


def all_reduce_together(tensors: list[Tensor]) -> None:
    """Sum float tensors over ranks in place, as one collective."""
    if not dist_on():
        return
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    for t, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        t.copy_(part.view_as(t))


def pick_rows(
    pools: Sequence[Sequence[Tensor]], nums: Sequence[int], *, seeds: Sequence[int]
) -> list[tuple[Tensor, int]]:
    """Draw random rows from the batches of all ranks; every rank gets the same rows, as would one process with whole batches.

    Args:
        pools: for each draw the segments `[N_s, d]` (batches or levels) to draw from, the same number on every rank, of any
            lengths. A segment of the whole batch is the concatenation of those of all ranks, in the order of ranks.
        nums: number of rows to draw from each pool; rows repeat if the pool has fewer.
        seeds: seed of each draw; the same on every rank.

    Returns:
        For each draw the rows `[num, d]`, and the number of rows in its pool over all ranks.
    """
    if not dist_on():
        return [_pick_here(pool, num, seed) for pool, num, seed in zip(pools, nums, seeds, strict=True)]
    device = pools[0][0].device
    own = torch.tensor([[len(s) for pool in pools for s in pool]], device=device)
    counts, rank = own.new_zeros(dist.get_world_size(), own.shape[1]), dist.get_rank()  # [R, all segments]
    dist.all_gather_into_tensor(counts, own)
    drawn = [
        _pick_mine(pool, part, rank, num, seed)
        for pool, part, num, seed in zip(pools, counts.split([len(p) for p in pools], dim=1), nums, seeds, strict=True)
    ]
    all_reduce_together([rows for rows, _ in drawn])  # each row comes from one rank, zeros from the others: exact
    return drawn


def _pick_here(segments: Sequence[Tensor], num: int, seed: int) -> tuple[Tensor, int]:
    """As `_pick_mine`, of the only process: which rows are drawn is known on the host, which does not wait for the device."""
    total = sum(len(s) for s in segments)
    if not total:
        return segments[0].new_zeros(num, segments[0].shape[1]), 0
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    index = order[torch.arange(num) % total].to(segments[0].device, non_blocking=True)
    return torch.cat(list(segments))[index], total


def _pick_mine(
    segments: Sequence[Tensor], counts: Tensor, rank: int, num: int, seed: int
) -> tuple[Tensor, int]:
    """(this rank's share `[num, d]` of a draw, rows of other ranks 0; total rows), from the segment lengths `counts [R, S]`."""
    before = counts.t().flatten().cumsum(0).view(len(segments), -1).t() - counts  # [R, S] rows in front
    total = int(counts.sum())
    order = torch.randperm(max(total, 1), generator=torch.Generator().manual_seed(seed))
    index = order[torch.arange(num) % len(order)].to(counts.device)
    out = segments[0].new_zeros(num, segments[0].shape[1])
    for rows, start in zip(segments, before[rank].tolist(), strict=True):
        mine = (index >= start) & (index < start + len(rows))
        out[mine] = rows[index[mine] - start]
    return out, total


def kmeans(
    segments: Sequence[Tensor], size: int, *, iterations: int, space: Callable[[Tensor], Tensor], seed: int
) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm over the rows of all ranks; empty clusters move to random rows.

    Args:
        segments: this rank's rows, as in `pick_rows`.
        size: V, number of clusters.
        iterations: fixed number of steps, each with fixed-size collectives.
        space: function of rows and centres that is applied before distances are computed.
        seed: seed of the choice of rows; must be the same on every rank.

    Returns:
        Centres `[V, d]` and the number of rows of each `[V]`.
    """
    rows = torch.cat(list(segments))
    where = space(rows)
    centres, _ = pick_rows([segments], [size], seeds=[seed])[0]
    counts = rows.new_ones(size)
    for iteration in range(iterations):
        ids = nearest_code(where, space(centres))
        sums, counts = batch_statistics(rows, ids, size)
        all_reduce_together([sums, counts])
        fresh, _ = pick_rows([segments], [size], seeds=[seed + 1 + iteration])[0]
        # In the last step an empty cluster stays where it is: the rows of a new centre would not be counted any more.
        elsewhere = fresh if iteration < iterations - 1 else centres
        centres = torch.where(counts.unsqueeze(1) > 0, sums / counts.clamp(min=1).unsqueeze(1), elsewhere)
    return centres, counts
