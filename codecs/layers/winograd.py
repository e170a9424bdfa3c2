"""Winograd's minimal filtering: convolutions in fewer products, for `winograd1d.py` and `winograd2d.py`.

Lavin and Gray 2015, arXiv 1509.09308. m outputs in a row of a filter of g taps depend on n = m + g - 1 inputs. Seen as polynomials,
they are known from the products of n values of either, at n points, where a plain filter takes m g products. One of the points
is infinity. Which the others are decides how many digits are lost; those in use here lose none: errors against float64 are as
large as those of oneDNN's convolutions, about 1e-5 of the outputs' deviation at most in float32.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Transforms(NamedTuple):
    """Matrices, float64: of inputs `[n, n]` and filter `[n, g]` to values at the points, and of products to outputs `[m, n]`."""

    inputs: Tensor
    filters: Tensor
    outputs: Tensor

    def to(self, x: Tensor) -> "Transforms":
        """In the type of `x`, and where it is."""
        return Transforms(*(matrix.to(x) for matrix in self))


@cache
def transforms(outputs: int, points: tuple[float, ...]) -> Transforms:
    """For m outputs and the points without infinity.

    With points p and l_p the product of (x - q) over the other points q: the outputs' matrix has the powers of p in its columns,
    the filter's those over l_p(p) in its rows, the inputs' the coefficients of l_p. Infinity takes the leading coefficients.
    """
    p, n = np.array(points), len(points) + 1
    others = [np.delete(p, i) for i in range(n - 1)]
    into = np.zeros((n, n))
    into[:-1, :-1] = [np.poly(roots)[::-1] for roots in others]
    into[-1] = np.poly(p)[::-1]
    scale = np.array([[np.prod(at - roots)] for at, roots in zip(p, others, strict=True)])
    filters = _powers(p, n - outputs + 1)
    filters[:-1] /= scale
    return Transforms(*(torch.from_numpy(m) for m in (into, filters, _powers(p, outputs).T.copy())))


def _powers(points: np.ndarray, count: int) -> np.ndarray:
    """Powers 0 to `count` - 1 of the points in rows, and of infinity."""
    return np.vstack([np.vander(points, count, increasing=True), np.eye(count)[-1]])


def part(buffer: Tensor, *shape: int) -> Tensor:
    """The beginning of a buffer, in a shape."""
    return buffer[: math.prod(shape)].view(shape)


def times(matrix: Tensor, x: Tensor, buffer: Tensor) -> Tensor:
    """`matrix [m, n]` over the second axis of `x [k, n, size]`: `[k, m, size]` in the buffer."""
    k, _, size = x.shape
    return torch.bmm(matrix.expand(k, -1, -1), x, out=part(buffer, k, len(matrix), size))
