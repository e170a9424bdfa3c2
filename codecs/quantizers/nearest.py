"""Nearest-code search that never holds the N x V distances.

Letters: N vectors, V codes, D latent width.
"""

import torch
from torch import Tensor


def row_sum(x: Tensor) -> Tensor:
    """Sum over the last axis by pairwise halving, `[..., D] -> [...]`.

    `Tensor.sum` may add in another order when the other axes change; these additions always happen in the same order, so
    an item's norm does not depend on the batch that it came in.
    """
    while x.shape[-1] > 1:
        half = (x.shape[-1] + 1) // 2
        x = torch.cat((x[..., : x.shape[-1] - half] + x[..., half:], x[..., x.shape[-1] - half : half]), dim=-1)
    return x[..., 0]


def unit(x: Tensor) -> Tensor:
    """Scale rows `[..., D]` to length 1 (rows shorter than 1e-12 stay near zero)."""
    return x / row_sum(x * x).sqrt().clamp(min=1e-12).unsqueeze(-1)


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest code (Euclidean) of each vector, int64 `[N]`.

    Args:
        z: `[N, D]` float32.
        codebook: `[V, D]` float32.
    """
    half_norms = row_sum(codebook * codebook) / 2  # [V]
    table = codebook.t().contiguous()  # [D, V]
    ids = []
    for rows in z.split(1024):
        best = z.new_full((rows.shape[0],), -torch.inf)
        best_id = torch.zeros(rows.shape[0], dtype=torch.int64, device=z.device)
        for start in range(0, codebook.shape[0], 2048):
            stop = start + 2048
            score, index = torch.addmm(half_norms[start:stop], rows, table[:, start:stop], beta=-1).max(dim=1)
            best_id = torch.where(score > best, index + start, best_id)
            best = torch.maximum(score, best)
        ids.append(best_id)
    return torch.cat(ids) if ids else torch.zeros(0, dtype=torch.int64, device=z.device)
