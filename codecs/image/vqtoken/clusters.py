"""k-means of one clip: a codebook of its own, with a fixed or an adaptive number of codes.

Everything follows from the clip's features alone: the first centres are the rows that lie farthest from those before them, which also
makes the first centres for K codes a part of those for K + 1. Sums are float64, near-ties are decided as in `parts/nearest.py`.

Letters: n rows (positions of all frames), C their width, K codes.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...quantizers.parts.clustering import batch_statistics
from ...quantizers.parts.nearest import nearest_code, nearest_codes, row_sum, unit, wide

Rule = Literal["elbow", "silhouette"]

#: Rows whose squared distance from all centres is below this share of the mean squared length are the same as these.
_SAME = 1e-9
#: More codes are of no use where the error is below this share of the variance: own choice.
_ENOUGH = 0.01
#: A curve of errors that stays this close to the line between its ends (1 is the whole drop) has no elbow: own choice.
_NO_ELBOW = 0.1


class Clusters(NamedTuple):
    """A clip's codebook `[K, C]`, and the code of each row, int64 `[n]`; each code has at least one row."""

    table: Tensor
    ids: Tensor


def clusters_of(rows: Tensor, num_tokens: int, *, least: int, adaptive: Rule | None, cosine: bool, iterations: int) -> Clusters:
    """Cluster the rows of one clip.

    Args:
        rows: float32 `[n, C]`; of length 1 with `cosine`.
        num_tokens: K; with `adaptive` the most codes. Rows of fewer different values get fewer codes.
        least: with `adaptive` the fewest codes, if there are that many different rows.
        adaptive: choose K. "elbow": where the curve of errors over K lies farthest below the straight line between its ends (Satopaa
            et al. 2011, "Finding a kneedle in a haystack"); "silhouette": the K with the highest silhouette, where the distance from a
            cluster is that from its centre. Both: `least`, where this leaves 1% of the features' variance or less.
        cosine: centres are scaled to length 1 before distances are computed.
        iterations: most Lloyd steps of each K; they end when no row changes its code.
    """
    starts = _far_apart(rows, num_tokens)
    if adaptive is None or len(starts) <= least:
        return _lloyd(rows, starts, cosine, iterations)
    first = _lloyd(rows, starts[:least], cosine, iterations)
    if _error(rows, first) <= _ENOUGH * float((wide(rows) - wide(rows).mean(0)).square().sum()):
        return first
    fits = [first, *(_lloyd(rows, starts[:k], cosine, iterations) for k in range(least + 1, len(starts) + 1))]
    if adaptive == "elbow":
        return fits[_elbow([_error(rows, fit) for fit in fits])]
    scores = [_silhouette(rows, fit, cosine) for fit in fits]
    return fits[scores.index(max(scores))]


def _far_apart(rows: Tensor, count: int) -> Tensor:
    """At most `count` different rows `[K, C]`: the one farthest from the mean, then always the one farthest from all before."""
    points = wide(rows)
    squares = row_sum(points.square())
    same = float(squares.mean()) * _SAME

    def distances(centre: Tensor) -> Tensor:
        return (squares - 2 * (points @ centre) + centre.square().sum()).float()  # rounded: equal rows have equal distances

    first = int(distances(points.mean(0)).argmax())
    chosen, nearest = [first], distances(points[first])
    while len(chosen) < count:
        value, index = nearest.max(dim=0)
        if float(value) <= same:
            break
        chosen.append(int(index))
        nearest = torch.minimum(nearest, distances(points[index]))
    return rows[chosen]


def _lloyd(rows: Tensor, centres: Tensor, cosine: bool, iterations: int) -> Clusters:
    """Lloyd's algorithm from given centres; codes without rows are left out at the end."""
    ids = torch.full((len(rows),), -1, device=rows.device)
    for _ in range(iterations):
        found = nearest_code(rows, unit(centres) if cosine else centres)
        if torch.equal(found, ids):
            break
        ids = found
        sums, counts = batch_statistics(wide(rows), ids, len(centres))
        means = (sums / counts.clamp(min=1).unsqueeze(1)).to(rows.dtype)
        centres = torch.where((counts > 0).unsqueeze(1), means, centres)
    used, ids = ids.unique(return_inverse=True)
    return Clusters(centres[used], ids)


def _error(rows: Tensor, fit: Clusters) -> float:
    """Squared distance of the rows from their codes, summed."""
    return float(wide(rows - fit.table[fit.ids]).square().sum())


def _elbow(errors: list[float]) -> int:
    """Index of the elbow of a curve that falls; of a curve without one the last."""
    span, drop = len(errors) - 1, errors[0] - errors[-1]
    if drop <= 0:
        return 0
    below = [1 - i / span - (e - errors[-1]) / drop for i, e in enumerate(errors)]
    best = max(range(len(below)), key=lambda i: below[i])
    return best if below[best] > _NO_ELBOW else span


def _silhouette(rows: Tensor, fit: Clusters, cosine: bool) -> float:
    """Mean silhouette in -1..1; of a single code 0."""
    if len(fit.table) == 1:
        return 0.0
    centres = unit(fit.table) if cosine else fit.table
    near = nearest_codes(rows, centres, 2)  # [n, 2]
    own, other = (wide(rows - centres[near[:, i]]).square().sum(1).sqrt() for i in (0, 1))
    return float(((other - own) / other.clamp(min=1e-12)).mean())
