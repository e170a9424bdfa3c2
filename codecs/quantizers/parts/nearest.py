"""Nearest-code search: exact, in blocks that stay in the cache, never holding the N x V distances.

Letters: N vectors, V codes, D latent width, G groups of S = 16 neighbouring codes.

A float32 product determines the nearest code up to its rounding error, and that error changes with the shape of the
product: the same vector can get another id in another batch. So the nearest code is defined without it: the code whose
distance, added up in float64 in a fixed order, is smallest; of equal ones the first. The fast pass over blocks

    score[v, n] = e_v . z_n - |e_v|^2 / 2     (largest where the distance is smallest; |e_v|^2 is a column more)

finds all codes that could be the nearest, given a bound on the rounding error. Almost always there is only one, and the search is
over; the other vectors are decided in float64. An argmax over the scores takes longer than the matmul that made them, a
plain maximum a fifth of it: so only the largest score of each group of 16 codes is kept, and of each 16 groups, and the
winner is traced back through them. On a CPU each thread does this for its own vectors (`threads.py`); on CUDA devices one kernel
computes and compares the scores (`nearest_triton.py`).

Where many codes are equally near to many vectors, in tables that nothing was assigned to yet, or with dead codes, the definition
would have to be evaluated for all of them. Then codes that are equal are searched once, and others in float64.
"""

import importlib.util
import threading
from collections.abc import Callable
from functools import cache, cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from ...threads import on_threads

_SMALL = 1 << 16  # up to this many N V D the float64 definition is evaluated directly
_GROUP = 16  # S
_ROWS, _SCORES = 256, 1 << 18  # of a block on a CPU: 1 MiB, half a second-level cache; each thread computes its own
_ALONE = 1 << 18  # up to this many scores are one block, which is not worth another thread
_DEVICE_ROWS, _DEVICE_SCORES = 4096, 1 << 25
_CHUNK = 1 << 16  # vectors prepared together
_NUMBERS = 1 << 22  # distances of `nearest_codes` that are held at once
_INDEX_BITS = 20
_TINY, _ORDINARY = 2.0**-80, 2.0**-25  # z - e in float64 is exactly z where |e| <= _TINY and |z| >= _ORDINARY


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest code (Euclidean; for cosine give vectors of length 1), int64 `[N]`.

    The result does not depend on N, on the order or layout of the rows, or on the number of threads. Rows with NaN get any id.

    Args:
        z: `[N, D]` float32, or narrower numbers, which are converted.
        codebook: `[V, D]`, likewise.
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
    if z.device.type != "cpu":
        search = _Search(codebook, min(num, _DEVICE_ROWS), dot=dot, fused=z.device.type == "cuda" and _has_triton())
        return torch.cat([search(rows) for rows in z.split(_CHUNK)])
    threads, searches = torch.get_num_threads(), []
    part = min(max(-(-num // (4 * threads)), _ROWS), max(-(-num // threads), _ALONE // size, 1), _CHUNK)

    def prepare() -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        searches.append(_Search(codebook, min(part, _ROWS), dot=dot))
        return searches[0].search

    found = on_threads(prepare, z.split(part))
    ids = torch.cat([of_part for of_part, _ in found])
    unsure = torch.cat([at + i * part for i, (_, at) in enumerate(found)])
    if len(unsure):
        ids[unsure] = torch.cat(on_threads(lambda: searches[0].decide, z[unsure].split(searches[0].rows)))
    return ids


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
    if z.dtype in (torch.float16, torch.bfloat16):
        z = z.float()
    if codebook.dtype in (torch.float16, torch.bfloat16):
        codebook = codebook.float()
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
    """A codebook prepared for the search with any number of vectors; several threads may call it at once.

    `table` is `[V', D + 1]`, V' = V rounded up with codes that are never nearest; a block is the scores of `columns` codes and
    `rows` vectors.

    Args:
        codebook: `[V, D]`, float32, or the same numbers as float64: slower, with fewer vectors that the definition has to decide.
        rows: number of vectors in a block.
        dot: find the largest dot product.
        fused: compute the scores by the kernel for CUDA devices.
    """

    def __init__(self, codebook: Tensor, rows: int, *, dot: bool = False, fused: bool = False) -> None:
        (size, dim), wide_table = codebook.shape, codebook.dtype == torch.float64
        on_cpu = codebook.device.type == "cpu"
        self.codebook, self.dot, self.fused, self.rows = codebook, dot, fused, rows
        self.columns = max((_SCORES if on_cpu else _DEVICE_SCORES) // rows // 1024, 1) * 1024
        self.two_levels = size > 64 * _GROUP
        padded = _round_up(size, _GROUP**2 if self.two_levels else _GROUP)
        # Scores are differences of nearly equal numbers when the codes lie far from the origin: their mean is subtracted (which
        # changes all dot products with a vector by the same amount, too).
        centre = codebook.mean(dim=0)
        self.table = codebook.new_empty(padded, dim + 1)
        moved = torch.sub(codebook, centre, out=self.table[:size, :dim])
        norm = torch.linalg.vector_norm(moved, dim=1)
        self.table[:size, dim] = 0.0 if dot else norm.square() / -2
        self.table[size:, :dim], self.table[size:, dim] = 0.0, -torch.inf
        self.radius = norm.max() + 2 * (dim * torch.finfo(codebook.dtype).tiny) ** 0.5  # squares of tiny numbers are 0
        self.origin = torch.zeros_like(centre) if dot else centre
        self.reach = torch.linalg.vector_norm(centre) + self.radius
        rounding = 2.0**-53 if wide_table else 2.0**-24
        self.input_rounding = 0.0 if wide_table else _input_rounding(codebook.device.type)
        self.precision = (dim + 8) * rounding + self.input_rounding
        self.own_precision = (dim.bit_length() + 4) * 2.0**-52  # of the definition, which is rounded as well
        self.least_slack = 8 * dim * torch.finfo(codebook.dtype).tiny
        self.one_block = padded <= self.columns
        self.buffers = threading.local()
        self.lock = threading.Lock()
        self.closer: _Merged | _Search | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Ids `[n]` of float32 vectors `[n, D]`."""
        ids, unsure = self.search(z)
        for at in unsure.split(self.rows) if len(unsure) else ():
            ids[at] = self.decide(z[at])
        return ids

    def search(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Ids `[n]` of float32 vectors `[n, D]`, and the indices of the few that are not certain, which are left to `decide`."""
        if isinstance(self.closer, _Merged):
            return self.closer.search(z)
        rows, slack = self._prepared(z)
        if self.fused:
            ids, certain = self._by_kernel(rows, slack)
        else:
            blocks = zip(rows.split(self.rows), slack.split(self.rows), strict=True)
            ids, certain = (torch.cat(x) for x in zip(*(self._block(r, s) for r, s in blocks), strict=True))
        unsure = (~certain).nonzero()[:, 0]
        if len(unsure) > 8 + len(z) // 8 and (closer := self._look_closer()) is not None:
            ids[unsure], left = closer.search(z[unsure])
            unsure = unsure[left]
        return ids, unsure

    def _prepared(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Rows `[n, D + 1]` of vectors `[n, D]`, and how far below the best score `[n]` that of the nearest code may be."""
        rows = self.table.new_ones(len(z), z.shape[1] + 1)
        torch.sub(z, self.origin, out=rows[:, :-1])
        length = torch.linalg.vector_norm(rows[:, :-1], dim=1)
        # The winner's score and the best score are off by at most half of this each.
        far = length + self.radius
        own = length * self.reach if self.dot else far * far
        return rows, far * (2 * self.precision * self.radius) + own * self.own_precision + self.least_slack

    def _look_closer(self) -> "_Merged | _Search | None":
        """The search, prepared when first asked for, that decides most of the vectors that are unsure here; None: only the definition.

        Codes that are equal are merged. If there are none, float64 tells codes apart that are equal up to rounding.
        """
        with self.lock:
            if self.closer is None and self.codebook.dtype == torch.float32:
                codes = self.codebook if self.dot else _without_tiny(self.codebook)
                first = _first_of_equal(codes)
                if len(first) < len(codes):
                    self.closer = _Merged(self, codes, first)
                elif self.codebook.device.type != "mps":
                    self.closer = _Search(wide(self.codebook), self.rows, dot=self.dot)
        return self.closer

    def _by_kernel(self, rows: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
        """As `_block`, for any number of rows."""
        from .nearest_triton import best_two

        codes, bias = self.kernel_table
        ids, best, second = best_two(rows[:, :-1], codes, bias, rounded=self.input_rounding > 0)
        return ids, best - second > slack

    @cached_property
    def kernel_table(self) -> tuple[Tensor, Tensor]:
        """The table without its padding, `[V, D]`, and its last column `[V]`, contiguous."""
        table = self.table[: len(self.codebook)]
        return table[:, :-1].contiguous(), table[:, -1].contiguous()

    @cached_property
    def groups(self) -> Tensor:
        """The table by groups, `[G, (D + 1) S]`."""
        return self.table.view(-1, _GROUP, self.table.shape[1]).transpose(1, 2).flatten(1)

    def _score(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The last block of scores `[columns, n]` and the best score of each group `[G, n]`, for rows `[n, D + 1]`."""
        n, padded, own = len(rows), len(self.table), self.buffers
        if not hasattr(own, "scores"):
            own.scores = rows.new_empty(min(self.columns, padded) * self.rows)
            own.group_best = rows.new_empty(padded // _GROUP * self.rows)
        scores, best = own.scores, own.group_best[: padded // _GROUP * n].view(-1, n)
        for start in range(0, padded, self.columns):
            part = self.table[start : start + self.columns]
            scores = own.scores[: len(part) * n].view(len(part), n)
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

    def decide(self, z: Tensor) -> Tensor:
        """Ids `[n]` of the few vectors `[n, D]` for which several codes are equally near up to rounding; n at most `rows`."""
        if isinstance(self.closer, _Merged):
            return self.closer(z)
        rows, slack = self._prepared(z)
        scores, best = self._score(rows)
        least = best.amax(dim=0) - slack
        ids = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        group, row = (best >= least).nonzero(as_tuple=True)  # [P]
        if not len(row):  # NaN
            return ids
        if len(row) > 64 + 4 * len(z) and (closer := self._look_closer()) is not None:
            return closer(z)
        near = scores.view(-1, _GROUP, len(z))[group, :, row] if self.one_block else self._rescore(rows[row], group)
        pair, member = (near >= least[row].unsqueeze(1)).nonzero(as_tuple=True)  # [C] candidates
        row, code = row[pair], group[pair] * _GROUP + member
        step = max(1, (1 << 20) // z.shape[1])
        parts = zip(row.split(step), code.split(step), strict=True)
        distance = torch.cat([_cost(z[r], self.codebook[c], self.dot) for r, c in parts])
        nearest = distance.new_full((len(z),), torch.inf).scatter_reduce(0, row, distance, "amin")
        first = code.masked_fill(distance > nearest[row], len(self.table))
        return ids.scatter_reduce(0, row, first, "amin", include_self=False)


class _Merged:
    """The search over the codes that differ: of equal ones only the first can be the answer.

    Codes of a moving average to which nothing is assigned shrink to different tiny numbers, which in float64 have the same distances
    from nearly all vectors. So tiny numbers count as 0 here, and vectors with a channel near 0 are searched separately.
    """

    def __init__(self, whole: _Search, codes: Tensor, first: Tensor) -> None:
        self.codebook, self.first = whole.codebook, first  # [V, D], [V'']
        self.distinct = _Search(codes[first], whole.rows, dot=whole.dot, fused=whole.fused)
        self.rounded = codes is not whole.codebook
        self.exact: _Search | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Ids `[n]` of vectors `[n, D]`."""
        ids = self.first[self.distinct(z)]
        if len(at := self._near_zero(z)):
            ids[at] = self._exactly(z[at])
        return ids

    def search(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """As `_Search.search`."""
        ids, unsure = self.distinct.search(z)
        ids = self.first[ids]
        if len(at := self._near_zero(z)):
            ids[at] = self._exactly(z[at])
        return ids, unsure

    def _near_zero(self, z: Tensor) -> Tensor:
        """Indices of the vectors whose distances tiny numbers may change."""
        return (z.abs().amin(dim=1) < _ORDINARY).nonzero()[:, 0] if self.rounded else self.first[:0]

    def _exactly(self, z: Tensor) -> Tensor:
        self.exact = self.exact or _Search(wide(self.codebook), self.distinct.rows)
        return self.exact(z)


def _without_tiny(codes: Tensor) -> Tensor:
    """`codes [V, D]` with zeros in place of tiny numbers; if there are none, or no float64, the same object."""
    if codes.device.type == "mps":
        return codes
    rounded = F.hardshrink(codes, _TINY)
    return codes if torch.equal(rounded, codes) else rounded


def _first_of_equal(codes: Tensor) -> Tensor:
    """Indices of the rows of `codes [V, D]` that are equal to none before them, in order (of two with one hash, both)."""
    place = torch.arange(len(codes), device=codes.device)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(2**30, (codes.shape[1],), generator=generator, device="cpu", dtype=torch.int32) * 2 + 1
    bits = (codes + 0.0).view(torch.int32)  # -0.0 to 0.0
    same_hash = (bits * factors.to(codes.device)).sum(dim=1, dtype=torch.int32).unique(return_inverse=True)[1]
    first = torch.full_like(place, len(codes)).scatter_reduce(0, same_hash, place, "amin")[same_hash]
    return ((first == place) | (codes != codes[first]).any(dim=1)).nonzero()[:, 0]


def _members(x: Tensor, group: Tensor) -> Tensor:
    """The entries `[S, n]` of group `group[n]` of column n, from `x [G S, n]`."""
    return x.view(-1, _GROUP, len(group)).gather(0, group.expand(1, _GROUP, -1))[0]


def _count(x: Tensor, least: Tensor) -> Tensor:
    """Number `[n]` of entries of each column of `x [m, n]` that are at least `least [n]` (as floats: booleans are slow to sum)."""
    return torch.ge(x, least, out=torch.empty_like(x, memory_format=torch.contiguous_format)).sum(dim=0)


def _round_up(x: int, multiple: int) -> int:
    return -(-x // multiple) * multiple


@cache
def _has_triton() -> bool:
    """Whether the compiler of kernels is there: PyTorch's builds for CUDA on Linux bring it."""
    return importlib.util.find_spec("triton") is not None


def _input_rounding(device: str) -> float:
    """Relative error of a product that rounds its inputs, where the user allows TF32 or bfloat16 for float32."""
    backend = torch.backends.cuda.matmul if device == "cuda" else torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    setting = getattr(backend, "fp32_precision", "none")
    if setting == "none":
        setting = getattr(torch.backends, "fp32_precision", "none")
    return {"tf32": 2.0**-9, "bf16": 2.0**-6}.get(setting, 0.0)  # twice the bound, as the inner sums may be rounded too
