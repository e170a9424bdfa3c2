"""3x3 convolutions on a CPU with a quarter of the products: Winograd's minimal filtering F(4x4, 3x3) as products of matrices.

Lavin and Gray 2015, arXiv 1509.09308. m outputs in a row of a filter of g taps depend on n = m + g - 1 inputs. Seen as polynomials,
they are known from the products of n values of either, at n points, where a plain filter takes m g products: 36 instead of 144 for
4x4 outputs of 3x3 taps. One point is infinity, and the others decide how many digits are lost. Those in use, 0, +-1/c and +-c
(Alam et al. 2022, arXiv 2201.10369) with c the root of 2, lose none: errors against float64 are as large as those of oneDNN's
convolutions, 1e-5 of the outputs' deviation at most in float32. With the common 0, +-1, +-2 they are three times that.

A picture goes through block by block, so that what stands between the products stays in the caches. On the way into a block a norm
and an activation are applied, on the way out the bias and a sum: none of these makes a pass of its own over memory.

Letters: B batch, C channels in, O channels out, H W positions, i j rows and columns of a tile's 6x6 values, n its 4x4 outputs.
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

#: Tiles of 4x4 outputs in a block: rows enough for products of matrices, and values of one kind few enough for the caches.
_TILES, _VALUES = 128, 1 << 15
#: Channels below which the transforms cost what the products save.
_NARROWEST = 64
#: Tiles below which the filter's own transform costs that; it grows with the filter.
_FEWEST, _FILTER_PER_TILE = 64, 1024

_POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether `x [B, C, H, W]` is faster through a 3x3 filter `weight [O, C, 3, 3]` this way; the same for every B."""
    tiles = -(-x.shape[2] // 4) * -(-x.shape[3] // 4)
    wide = min(weight.shape[:2]) >= _NARROWEST
    return x.dtype == weight.dtype == torch.float32 and wide and tiles >= max(_FEWEST, weight[..., 0, 0].numel() / _FILTER_PER_TILE)


def convolve3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    norm: tuple[Tensor, Tensor] | None = None,
    activation: Callable[[Tensor], Tensor] | None = None,
    add: Tensor | None = None,
    over: bool = False,
) -> Tensor:
    """`F.conv2d(activation(x * gain + shift), weight, bias, padding=1) + add`, without gradients.

    Args:
        x: `[B, C, H, W]`, fastest in channels-last memory.
        weight: `[O, C, 3, 3]`.
        bias: `[O]`.
        norm: gain and shift, each `[B, C]`.
        activation: pointwise; may overwrite what it gets.
        add: `[B, O, H, W]`.
        over: write the result over `add`.

    Returns:
        `[B, O, H, W]` in channels-last memory; `add` itself, with `over`.
    """
    (batch, channels, height, width), outs = x.shape, len(weight)
    inputs, filters, outputs = (matrix.to(x) for matrix in _matrices())
    weights = (filters @ weight.reshape(-1, 9).T).view(36, outs, channels).transpose(1, 2)
    bias = x.new_zeros(outs) if bias is None else bias
    count = max(_TILES, _VALUES // channels)
    across = min(-(-width // 4), 1 << int(count**0.5).bit_length())
    down = min(-(-height // 4), count // across)
    padded = x.new_empty(4 * down + 2, 4 * across + 2, channels)
    # A buffer for each step, which the same thread always writes the same part of, and the products' rows i are split as those
    # before and after them: where cores share no cache, memory that changes hands would take as long as the products.
    values = [x.new_empty(36 * down * across * channels) for _ in range(3)]
    results = [x.new_empty(n * down * across * outs) for n in (36, 24, 16)]
    source, added = x.permute(0, 2, 3, 1), None if add is None else add.permute(0, 2, 3, 1)  # [B, H, W, C]
    y = added if over and added is not None else x.new_empty(batch, height, width, outs)

    for item, top, left in product(range(batch), range(0, height, 4 * down), range(0, width, 4 * across)):
        bottom, right = min(top + 4 * down, height), min(left + 4 * across, width)
        h, w = -(-(bottom - top) // 4), -(-(right - left) // 4)
        block = padded[: 4 * h + 2, : 4 * w + 2]
        inside = _cut(source[item], block, top - 1, left - 1)
        if norm is not None:
            torch.addcmul(norm[1][item], inside, norm[0][item], out=inside)
        if activation is not None and (active := activation(inside)) is not inside:
            inside.copy_(active)

        tiles = _part(values[0], 6, 6, h, w, channels)  # [j, i, ...]
        tiles.copy_(block.unfold(0, 6, 4).unfold(1, 6, 4).permute(4, 3, 0, 1, 2))
        half = _times(inputs, tiles.flatten(2), values[1])  # [j, i, ...]
        whole = _times(inputs, half.transpose(0, 1), values[2])  # [i, j, ...]
        products = torch.bmm(whole.view(36, h * w, channels), weights, out=_part(results[0], 36, h * w, outs))
        half = _times(outputs, products.view(6, 6, -1), results[1])  # [i, n, ...]
        whole = _times(outputs, half.transpose(0, 1), results[2])  # [n across, n down, ...]

        rows, columns = bottom - top, right - left
        place = y[item, top:bottom, left:right]
        target = place if added is None and (rows, columns) == (4 * h, 4 * w) else _part(results[0], 4 * h, 4 * w, outs)
        in_order = whole.view(4, 4, h, w, outs).permute(2, 1, 3, 0, 4)
        torch.add(in_order, bias, out=target.unflatten(1, (w, 4)).unflatten(0, (h, 4)))
        if added is not None:
            torch.add(target[:rows, :columns], added[item, top:bottom, left:right], out=place)
        elif target is not place:
            place.copy_(target[:rows, :columns])
    return y.permute(0, 3, 1, 2)


def _cut(source: Tensor, block: Tensor, top: int, left: int) -> Tensor:
    """Fill `block [h, w, C]` from `source [H, W, C]` at `top`, `left`, with zeros beyond; returns what is not beyond."""
    (height, width), (h, w) = source.shape[:2], block.shape[:2]
    t, b, l, r = max(0, -top), min(h, height - top), max(0, -left), min(w, width - left)
    for beyond in (block[:t], block[b:], block[:, :l], block[:, r:]):
        if beyond.numel():
            beyond.zero_()
    return block[t:b, l:r].copy_(source[top + t : top + b, left + l : left + r])


def _part(buffer: Tensor, *shape: int) -> Tensor:
    """The beginning of a buffer, in a shape."""
    return buffer[: math.prod(shape)].view(shape)


def _times(matrix: Tensor, x: Tensor, buffer: Tensor) -> Tensor:
    """`matrix [m, 6]` over the second axis of `x [k, 6, size]`: `[k, m, size]` in the buffer."""
    k, _, size = x.shape
    return torch.bmm(matrix.expand(k, -1, -1), x, out=_part(buffer, k, len(matrix), size))


@cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """`[6, 6]`, `[36, 9]` and `[4, 6]`, float64: inputs and the whole filter to their values at the points, products to outputs.

    With points p and l_p the product of (x - q) over the other points q: the outputs' matrix has the powers of p in its columns,
    the filter's those over l_p(p) in its rows, the inputs' the coefficients of l_p. Infinity takes the leading coefficients.
    """
    points = np.array(_POINTS)
    others = [np.delete(points, i) for i in range(5)]
    inputs = np.zeros((6, 6))
    inputs[:5, :5] = [np.poly(roots)[::-1] for roots in others]
    inputs[5] = np.poly(points)[::-1]
    taps = _powers(points, 3)
    taps[:5] /= np.array([[np.prod(p - roots)] for p, roots in zip(points, others, strict=True)])
    return torch.from_numpy(inputs), torch.from_numpy(np.kron(taps, taps)), torch.from_numpy(_powers(points, 4).T.copy())


def _powers(points: np.ndarray, count: int) -> np.ndarray:
    """Powers 0 to `count` - 1 of the points in rows, and of infinity."""
    return np.vstack([np.vander(points, count, increasing=True), np.eye(count)[-1]])
