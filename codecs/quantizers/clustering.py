"""Statistics of rows by code, random rows and k-means over the batches of all ranks, with fixed-size collectives.

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
    """Sum of the rows of each code `[V, d]` and their number `[V]`, by scatter-add (no one-hot matrix)."""
    sums = rows.new_zeros(size, rows.shape[1]).scatter_add_(0, ids.unsqueeze(1).expand_as(rows), rows)
    return sums, torch.bincount(ids, minlength=size).to(rows.dtype)


def all_reduce_together(tensors: list[Tensor]) -> None:
    """Sum float tensors over ranks in place, as one collective."""
    if not dist_on():
        return
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    for t, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        t.copy_(part.view_as(t))


def pick_rows(segments: Sequence[Tensor], num: int, *, seed: int) -> tuple[Tensor, int]:
    """Draw `num` rows of the batches of all ranks; the same on every rank, and as if one process had held the batches
    whole.

    Args:
        segments: rows `[N_s, d]` of each batch (or level), as many segments on every rank, of any lengths. A batch is
            thought of as its parts in the order of ranks.
        num: how many; repeated when there are fewer rows.
        seed: the same on every rank.

    Returns:
        The rows `[num, d]`, and how many there were to draw from.
    """
    device = segments[0].device
    counts = torch.tensor([[len(s) for s in segments]], device=device)  # [R, S]
    rank = 0
    if dist_on():
        gathered = counts.new_zeros(dist.get_world_size(), len(segments))
        dist.all_gather_into_tensor(gathered, counts)
        counts, rank = gathered, dist.get_rank()
    before = counts.t().flatten().cumsum(0).view(len(segments), -1).t() - counts  # [R, S] rows in front
    total = int(counts.sum())
    order = torch.randperm(max(total, 1), generator=torch.Generator().manual_seed(seed))
    index = order[torch.arange(num) % len(order)].to(device)
    out = segments[0].new_zeros(num, segments[0].shape[1])
    for rows, start in zip(segments, before[rank].tolist(), strict=True):
        mine = (index >= start) & (index < start + len(rows))
        out[mine] = rows[index[mine] - start]
    all_reduce_together([out])  # each row comes from one rank and zeros from the others: exact
    return out, total


def kmeans(
    segments: Sequence[Tensor], size: int, *, iterations: int, space: Callable[[Tensor], Tensor], seed: int
) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm over the rows of all ranks; empty clusters move to random rows.

    Args:
        segments: this rank's rows, as in `pick_rows`.
        size: V.
        iterations: fixed number of steps, each with fixed-size collectives.
        space: what is done to centres before distances to rows are taken.
        seed: of the choice of rows; must be the same on every rank.

    Returns:
        Centres `[V, d]` and how many rows each has `[V]`.
    """
    rows = torch.cat(list(segments))
    centres, _ = pick_rows(segments, size, seed=seed)
    counts = rows.new_ones(size)
    for iteration in range(iterations):
        ids = nearest_code(rows, space(centres))
        sums, counts = batch_statistics(rows, ids, size)
        all_reduce_together([sums, counts])
        fresh, _ = pick_rows(segments, size, seed=seed + 1 + iteration)
        # In the last step an empty cluster stays where it is: its rows could no longer be counted.
        elsewhere = fresh if iteration < iterations - 1 else centres
        centres = torch.where(counts.unsqueeze(1) > 0, sums / counts.clamp(min=1).unsqueeze(1), elsewhere)
    return centres, counts
