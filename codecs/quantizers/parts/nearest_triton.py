"""The scores of a nearest-code search in one kernel for accelerators: they are compared where they are computed, never stored.

Triton compiles it for the device when it is first called; `nearest.py` imports this file only then, and decides what the kernel leaves
open. Each program computes the scores of `ROWS` vectors and `CODES` codes after another, and keeps the best score of each vector, its
code and the second best score. Where there are few vectors, several programs share the codes.

Letters: N vectors, V codes, D latent width, P programs that share the codes of a vector.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_PROGRAMS = 512  # enough for each of a large device's processors
_CODES = 128


def best_two(z: Tensor, codes: Tensor, bias: Tensor, *, rounded: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The code with the largest score `codes[v] . z[n] + bias[v]`, that score, and the largest score of another code.

    Args:
        z: `[N, D]` float32.
        codes: `[V, D]` float32.
        bias: `[V]` float32.
        rounded: factors may be rounded to TF32, which is faster.

    Returns:
        ids int64 `[N]`, best and second best score `[N]`; of rows with NaN any.
    """
    (num, dim), size = z.shape, len(codes)
    z, codes, bias = z.contiguous(), codes.contiguous(), bias.contiguous()
    rows = 64 if num > 16 else 16
    parts = max(1, min(_PROGRAMS // triton.cdiv(num, rows), triton.cdiv(size, _CODES)))  # P
    each = triton.cdiv(triton.cdiv(size, parts), _CODES) * _CODES
    best, second = (z.new_empty(parts, num) for _ in range(2))
    ids = torch.empty(parts, num, dtype=torch.int32, device=z.device)
    width = min(max(16, triton.next_power_of_2(dim)), 32)  # more would not fit the fast memory of small devices
    fixed: dict[str, Any] = {"DIM": dim, "ROWS": rows, "CODES": _CODES, "WIDTH": width, "PRECISION": "tf32" if rounded else "ieee"}
    with torch.cuda.device_of(z):  # kernels start on the current device
        _scan[(triton.cdiv(num, rows), parts)](z, codes, bias, best, second, ids, num, size, each, **fixed)
    top, part = best.max(dim=0)
    others = best.scatter(0, part.unsqueeze(0), -torch.inf).amax(dim=0)
    return ids.gather(0, part.unsqueeze(0))[0].long(), top, torch.maximum(others, second.amax(dim=0))


@triton.jit
def _scan(
    z,  # [N, D]
    codes,  # [V, D]
    bias,  # [V]
    best,  # [P, N], written
    second,  # [P, N], written
    ids,  # [P, N], written
    num,  # N
    size,  # V
    each,  # codes of a program, a multiple of CODES
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    CODES: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Best code, best and second best score of `ROWS` vectors among the codes of this program."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    there = row < num
    part = tl.program_id(1).to(tl.int64)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    runner_up = tl.full([ROWS], float("-inf"), tl.float32)
    at = tl.zeros([ROWS], tl.int32)
    place = tl.arange(0, CODES)
    first = part.to(tl.int32) * each
    for start in range(first, tl.minimum(first + each, size), CODES):
        code = start + place
        score = tl.zeros([ROWS, CODES], tl.float32)
        for d in range(0, DIM, WIDTH):
            channel = d + tl.arange(0, WIDTH)
            inside = channel < DIM
            a = tl.load(z + row[:, None] * DIM + channel[None, :], mask=there[:, None] & inside[None, :], other=0.0)
            b = tl.load(codes + code[None, :] * DIM + channel[:, None], mask=(code < size)[None, :] & inside[:, None], other=0.0)
            score = tl.dot(a, b, score, input_precision=PRECISION)
        score += tl.load(bias + code, mask=code < size, other=float("-inf"))[None, :]
        score = tl.where(score == score, score, float("-inf"))  # NaN is never the largest
        here, where = tl.max(score, axis=1, return_indices=True)
        rest = tl.max(tl.where(place[None, :] == where[:, None], float("-inf"), score), axis=1)
        runner_up = tl.maximum(tl.maximum(runner_up, rest), tl.minimum(top, here))
        at = tl.where(here > top, start + where, at)
        top = tl.maximum(top, here)
    tl.store(best + part * num + row, top, mask=there)
    tl.store(second + part * num + row, runner_up, mask=there)
    tl.store(ids + part * num + row, at, mask=there)
