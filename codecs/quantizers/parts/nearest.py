"""Nearest-code search: exact, in blocks that stay in the cache, never holding the N x V distances.

Letters: N vectors, V codes, D latent width, G groups of S = 16 neighbouring codes.

A float32 product determines the nearest code up to its rounding error, and that error changes with the shape of the
product: the same vector can get another id in another batch. So the nearest code is defined without it: the code whose
distance, added up in float64 in a fixed order, is smallest; of equal ones the first. The fast pass over blocks

    score[v, n] = e_v . z_n - |e_v|^2 / 2     (largest where the distance is smallest; |e_v|^2 is a column more)

finds all codes that could be the nearest, given a bound on the rounding error. Almost always there is only one, and the search is
over; the other vectors are decided in float64. An argmax over the scores takes longer than the matmul that made them, a
plain maximum a fifth of it: so only the largest score of each group of 16 codes is kept, and of each 16 groups, and the
winner is traced back through them.
"""

import torch
from torch import Tensor

_SMALL = 1 << 16  # up to this many N V D the float64 definition is evaluated directly
_GROUP = 16  # S
_CHUNK = 1 << 14  # rows prepared together
_NUMBERS = 1 << 22  # distances of `nearest_codes` that are held at once
_INDEX_BITS = 20


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest code (Euclidean; for cosine give vectors of length 1), int64 `[N]`.

    The result does not depend on N, on the order or layout of the rows, or on the number of threads. Rows with NaN get any id.

    Args:
        z: `[N, D]` float32.
        codebook: `[V, D]` float32.
    """
    return _found(z.detach(), codebook.detach(), False)


def largest_dot(z: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the code with the largest dot product, int64 `[N]`; otherwise as `nearest_code`."""
    return _found(z.detach(), codebook.detach(), True)


def nearest_codes(rows: Tensor, codebook: Tensor, count: int) -> Tensor:
    """Return the `count` nearest codes (Euclidean), nearest first, int64 `[N, min(count, V)]`.

    Args:
        rows: `[N, d]`.
        codebook: `[V, d]`.
        count: C.
    """
    codes = wide(codebook)
    half = row_sum(codes.square()) / 2
    parts = rows.split(max(_NUMBERS // len(codebook), 1))
    return torch.cat([smallest(half - wide(part) @ codes.t(), min(count, len(codebook))) for part in parts])


def smallest(values: Tensor, count: int) -> Tensor:
    """Places `[N, count]` of the smallest of `values [N, M]`, M < 2^20, in order; of values equal to 32 bits the first.

    A product of matrices rounds its last bits differently for another number of rows, so values that near count as equal.
    """
    values = values + 0.0  # -0.0 to 0.0
    place = torch.arange(values.shape[1], device=values.device)
    if values.dtype == torch.float64:
        bits = values.view(torch.int64)
        key = (bits ^ ((bits >> 63) & (2**63 - 1))) >> _INDEX_BITS << _INDEX_BITS | place
    else:  # where float64 does not exist
        bits = values.view(torch.int32).long()
        key = (bits ^ ((bits >> 63) & (2**31 - 1))) << _INDEX_BITS | place
    return key.topk(count, dim=1, largest=False).indices


def row_sum(x: Tensor) -> Tensor:
    """Sum over the last axis by halving, `[..., D] -> [...]`: the same additions whatever the other axes are."""
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        rest = x[..., 2 * half :]  # the last column of an odd width
        x = x[..., :half] + x[..., half : 2 * half]
        x = torch.cat((x, rest), dim=-1) if rest.shape[-1] else x
    return x[..., 0]


def wide(x: Tensor) -> Tensor:
    """`x` in float64, or in float32 on Apple GPUs, which have no float64."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def unit(x: Tensor) -> Tensor:
    """Scale rows `[..., D]` to length 1 (rows shorter than 1e-12 stay near zero)."""
    return x / row_sum(x * x).sqrt().clamp(min=1e-12).unsqueeze(-1)


def _find(z: Tensor, codebook: Tensor, dot: bool) -> Tensor:
    (num, dim), size = z.shape, codebook.shape[0]
    if num * size * dim <= _SMALL:
        return _cost(z.unsqueeze(1), codebook, dot).argmin(dim=1)
    search = _Search(codebook, num, dot=dot)
    return torch.cat([search(rows) for rows in z.split(_CHUNK)])


# A separate operator, so that `torch.compile(fullgraph=True)` does not trace into it: the number of near-ties depends on the
# data. Not defined by `custom_op`, whose first call loads the compiler, two seconds in every process.
_library = torch.library.Library("tokenzoo", "FRAGMENT")
_library.define("search_codes(Tensor z, Tensor codebook, bool dot) -> Tensor", tags=torch.Tag.pt2_compliant_tag)
_library.impl("search_codes", _find, "CompositeExplicitAutograd")


@torch.library.register_fake("tokenzoo::search_codes", lib=_library)
def _(z: Tensor, codebook: Tensor, dot: bool) -> Tensor:
    return z.new_empty(z.shape[0], dtype=torch.int64)


_search = torch.ops.tokenzoo.search_codes


def _found(z: Tensor, codebook: Tensor, dot: bool) -> Tensor:
    """Ids `[N]` by the operator or, in a graph that `torch.export` makes, which other programs run, by one product in float64."""
    if not torch.compiler.is_exporting():
        return _search(z, codebook, dot)
    codes = wide(codebook)
    score = wide(z) @ codes.t()
    return (score if dot else score - row_sum(codes.square()) / 2).argmax(dim=1)


def _cost(z: Tensor, codes: Tensor, dot: bool) -> Tensor:
    """The definition: squared distances (or negative dot products) `[...]` of `[..., D]`, in float64 where it exists."""
    z, codes = wide(z), wide(codes)
    return row_sum(-z * codes if dot else (z - codes).square())


class _Search:
    """A codebook prepared for the search with any number of vectors.

    `table` is `[V', D + 1]`, V' = V rounded up with codes that are never nearest; a block is the scores of `columns` codes and
    `rows` vectors.
    """

    def __init__(self, codebook: Tensor, num: int, *, dot: bool = False) -> None:
        size, dim = codebook.shape
        on_cpu = codebook.device.type == "cpu"
        self.codebook, self.dot = codebook, dot
        self.rows = min(num, 256 * torch.get_num_threads() if on_cpu else 4096)
        self.columns = 1024 if on_cpu else 8192  # a block of scores is 1 MiB a thread: half a second-level cache
        self.two_levels = size > 64 * _GROUP
        padded = _round_up(size, _GROUP**2 if self.two_levels else _GROUP)
        # Scores are differences of nearly equal numbers when the codes lie far from the origin: their mean is subtracted (which
        # changes all dot products with a vector by the same amount, too).
        self.centre = codebook.mean(dim=0)
        self.table = codebook.new_zeros(padded, dim + 1)
        torch.sub(codebook, self.centre, out=self.table[:size, :dim])
        half_norm = self.table.square().sum(dim=1) / 2
        if not dot:
            self.table[:, dim] = -half_norm
        self.table[size:, dim] = -torch.inf
        self.radius = (2 * half_norm.max()).sqrt()
        self.precision = (dim + 8) * 2.0**-24 + _input_rounding(codebook.device.type)
        self.one_block = padded <= self.columns
        if not self.one_block:
            self.groups = self.table.view(-1, _GROUP, dim + 1).transpose(1, 2).flatten(1)  # [G, (D + 1) S]
        self.scores = codebook.new_empty(min(self.columns, padded) * self.rows)
        self.group_best = codebook.new_empty(padded // _GROUP * self.rows)

    def __call__(self, z: Tensor) -> Tensor:
        """Ids `[n]` of vectors `[n, D]`."""
        rows = z.new_ones(len(z), z.shape[1] + 1)
        torch.sub(z, self.centre.mul(not self.dot), out=rows[:, :-1])
        length = torch.linalg.vector_norm(rows[:, :-1], dim=1)
        # Both the winner's score and the best score are off by at most half of this.
        slack = 2 * self.precision * self.radius * (length + self.radius)  # [n]
        blocks = zip(rows.split(self.rows), slack.split(self.rows), strict=True)
        ids, certain = (torch.cat(x) for x in zip(*(self._block(r, s) for r, s in blocks), strict=True))
        unsure = (~certain).nonzero()[:, 0]
        for at in unsure.split(self.rows) if len(unsure) else ():
            ids[at] = self._decide(z[at], rows[at], slack[at])
        return ids

    def _score(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The last block of scores `[columns, n]` and the best score of each group `[G, n]`, for rows `[n, D + 1]`."""
        n, scores = len(rows), self.scores
        best = self.group_best[: len(self.table) // _GROUP * n].view(-1, n)
        for start in range(0, len(self.table), self.columns):
            part = self.table[start : start + self.columns]
            scores = self.scores[: len(part) * n].view(len(part), n)
            torch.mm(part, rows.t(), out=scores)
            torch.amax(scores.view(-1, _GROUP, n), dim=1, out=best[start // _GROUP :][: len(part) // _GROUP])
        return scores, best

    def _block(self, rows: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
        """Ids `[n]` and whether each is certain, for rows `[n, D + 1]` and their rounding bounds `slack [n]`."""
        scores, best = self._score(rows)
        top = best.view(-1, _GROUP, len(rows)).amax(dim=1) if self.two_levels else best  # [G / S or G, n]
        value, group = top.max(dim=0)
        least = value - slack
        rivals = _count(top, least)
        if self.two_levels:
            siblings = _members(best, group)  # [S, n]
            rivals += _count(siblings, least)
            group = group * _GROUP + siblings.max(dim=0).indices
        if self.one_block:
            near = _members(scores, group)  # [S, n]
        else:
            near = self._rescore(rows, group).t()
        rivals += _count(near, least)
        return group * _GROUP + near.max(dim=0).indices, rivals == 2 + self.two_levels

    def _rescore(self, rows: Tensor, group: Tensor) -> Tensor:
        """Scores `[P, S]` of the codes of groups `[P]` for rows `[P, D + 1]`, computed once more."""
        step = max(1, (1 << 21) // self.groups.shape[1])  # gather at most 8 MiB at once
        parts = [
            torch.bmm(r.unsqueeze(1), self.groups.index_select(0, g).view(len(g), -1, _GROUP)).squeeze(1)
            for r, g in zip(rows.split(step), group.split(step), strict=True)
        ]
        return torch.cat(parts) if len(parts) != 1 else parts[0]

    def _decide(self, z: Tensor, rows: Tensor, slack: Tensor) -> Tensor:
        """Ids `[n]` of the few vectors `[n, D]` for which several codes are equally near up to rounding."""
        scores, best = self._score(rows)
        least = best.amax(dim=0) - slack
        ids = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        group, row = (best >= least).nonzero(as_tuple=True)  # [P]
        if not len(row):  # NaN
            return ids
        near = scores.view(-1, _GROUP, len(z))[group, :, row] if self.one_block else self._rescore(rows[row], group)
        pair, member = (near >= least[row].unsqueeze(1)).nonzero(as_tuple=True)  # [C] candidates
        row, code = row[pair], group[pair] * _GROUP + member
        step = max(1, (1 << 20) // z.shape[1])
        parts = zip(row.split(step), code.split(step), strict=True)
        distance = torch.cat([_cost(z[r], self.codebook[c], self.dot) for r, c in parts])
        nearest = distance.new_full((len(z),), torch.inf).scatter_reduce(0, row, distance, "amin")
        first = code.masked_fill(distance > nearest[row], len(self.table))
        return ids.scatter_reduce(0, row, first, "amin", include_self=False)


def _members(x: Tensor, group: Tensor) -> Tensor:
    """The entries `[S, n]` of group `group[n]` of column n, from `x [G S, n]`."""
    return x.view(-1, _GROUP, len(group)).gather(0, group.expand(1, _GROUP, -1))[0]


def _count(x: Tensor, least: Tensor) -> Tensor:
    """Number `[n]` of entries of each column of `x [m, n]` that are at least `least [n]` (as floats: booleans are slow to sum)."""
    return torch.ge(x, least, out=torch.empty_like(x, memory_format=torch.contiguous_format)).sum(dim=0)


def _round_up(x: int, multiple: int) -> int:
    return -(-x // multiple) * multiple


def _input_rounding(device: str) -> float:
    """Relative error of a product that rounds its inputs, where the user allows TF32 or bfloat16 for float32."""
    backend = torch.backends.cuda.matmul if device == "cuda" else torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    setting = getattr(backend, "fp32_precision", "none")
    if setting == "none":
        setting = getattr(torch.backends, "fp32_precision", "none")
    return {"tf32": 2.0**-9, "bf16": 2.0**-6}.get(setting, 0.0)  # twice the bound, as the inner sums may be rounded too
