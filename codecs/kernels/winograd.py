"""3x3 convolutions on a CPU with a quarter of the products: Winograd's minimal filtering F(4x4, 3x3) as matrix products.

Lavin and Gray 2015, arXiv 1509.09308. m outputs in a row of a filter of g taps depend on n = m + g - 1 inputs. Inputs and taps are
the coefficients of two polynomials; the outputs follow from the products of both polynomials' values at n points. So n products
are enough where a plain filter takes m g: 36 instead of 144 for 4x4 outputs of 3x3 taps. One point is infinity; the choice of the
others decides how many digits are lost. 0, +-1/c and +-c (Alam et al. 2022, arXiv 2201.10369) with c the root of 2 lose none:
errors against float64 are as large as those of oneDNN's convolutions, in float32 at most 1e-5 of the outputs' standard deviation.
With the common 0, +-1, +-2 they are three times as large.

A picture is computed block by block, so that intermediate values stay in the caches. A norm and an activation are applied while a
block is read, the bias and a sum while it is written: none of these needs a separate pass over memory.

    padded block --tiles--> inputs at the 36 points --products with the filter--> outputs at the 36 points --> 4x4 outputs a tile

The gradient of the filter takes the same way back: that of the outputs, at the 36 points, times the inputs at these points, summed
over tiles. That of the inputs is a convolution with the mirrored filter.

Letters: B batch, C channels in, O channels out, H W positions, h w tiles of a block, i j rows and columns of a tile's 6x6 values,
n its 4x4 outputs.
"""

import copy
import math
import threading
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ..threads import on_threads
from .mode import is_plain

#: Least number of tiles of 4x4 outputs in a block, for matrix products with enough rows; and number of input values (tiles x
#: channels) of a block, few enough for the caches.
_TILES, _VALUES = 128, 1 << 15
#: Least number of blocks for each thread with which threads take whole blocks; of fewer, they compute each one together.
_SHARED = 1
#: Number of channels below which the transforms cost what the products save.
_NARROWEST = 64
#: Number of tiles below which the transform of the filter costs what the products save: a constant, or one that grows with the filter.
_FEWEST, _FILTER_PER_TILE = 64, 1024

_POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve3x3` of `x [B, C, H, W]` with `weight [O, C, 3, 3]` is faster than PyTorch's; does not depend on B."""
    tiles = -(-x.shape[2] // 4) * -(-x.shape[3] // 4)
    wide = min(weight.shape[:2]) >= _NARROWEST
    enough = tiles >= max(_FEWEST, weight[..., 0, 0].numel() / _FILTER_PER_TILE)
    return x.dtype == weight.dtype == torch.float32 and wide and enough and not is_plain()


def convolve3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    norm: tuple[Tensor, Tensor] | None = None,
    activation: Callable[[Tensor], Tensor] | None = None,
    add: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """`F.conv2d(activation(x * gain + shift), weight, bias, padding=1) + add`, without gradients.

    Args:
        x: `[B, C, H, W]`, fastest in channels-last memory.
        weight: `[O, C, 3, 3]`.
        bias: `[O]`; None: no bias.
        norm: gain and shift, each `[B, C]`; None: no norm.
        activation: pointwise function, which may overwrite its input; None: no activation.
        add: `[B, O, H, W]` to add; None: nothing.
        out: tensor for the result; may be `add`, but not `x`, from which later blocks are still read.

    Returns:
        `[B, O, H, W]` in channels-last memory, or `out`.
    """
    batch, _, height, width = x.shape
    first = _Block(x, weight, bias)
    source, added = x.permute(0, 2, 3, 1), None if add is None else add.permute(0, 2, 3, 1)  # [B, H, W, C]
    y = x.new_empty(batch, height, width, len(weight)) if out is None else out.permute(0, 2, 3, 1)  # [B, H, W, O]

    def run(block: _Block, item: int, top: int, left: int) -> None:
        inside = block.read(source[item], top, left)
        if norm is not None:
            torch.addcmul(norm[1][item], inside, norm[0][item], out=inside)
        if activation is not None:
            active = activation(inside)
            if active is not inside:
                inside.copy_(active)
        rows, columns = slice(top, top + block.height), slice(left, left + block.width)
        block.convolve()
        block.write(y[item, rows, columns], None if added is None else added[item, rows, columns])

    places = [*product(range(batch), range(0, height, first.height), range(0, width, first.width))]
    if len(places) < _SHARED * torch.get_num_threads():
        for place in places:
            run(first, *place)
    else:
        own = threading.local()

        def run_here(place: tuple[int, int, int]) -> None:
            if not hasattr(own, "block"):
                own.block = first.another()
            run(own.block, *place)

        on_threads(lambda: run_here, places)
    return y.permute(0, 3, 1, 2)


def filter_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """Gradient `[O, C, 3, 3]` of the filter of `F.conv2d(x, filter, padding=1)`.

    Args:
        x: input `[B, C, H, W]`.
        grad: gradient of the output `[B, O, H, W]`.
    """
    batch, channels, height, width = x.shape
    outs = grad.shape[1]
    block = _Block(x, x.new_zeros(outs, channels, 3, 3), None)
    filters, back = (matrix.to(x) for matrix in _matrices()[1:])
    buffers = [x.new_empty(n * block.height * block.width // 16 * outs) for n in (16, 24, 36)]
    cut = x.new_empty(block.height, block.width, outs)
    total = x.new_zeros(36, channels, outs)
    source, behind = x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
    for item, top, left in product(range(batch), range(0, height, block.height), range(0, width, block.width)):
        block.read(source[item], top, left)
        inputs = block.points().view(36, -1, channels)
        part = cut[: 4 * block.h, : 4 * block.w]
        _cut(behind[item], part, top, left)
        tiles = _part(buffers[0], 4, 4, block.h, block.w, outs)  # [j, i, ...]
        tiles.copy_(part.unflatten(1, (block.w, 4)).unflatten(0, (block.h, 4)).permute(3, 1, 0, 2, 4))
        outputs = _along_both(back.T, tiles.flatten(2), *buffers[1:]).view(36, -1, outs)
        total.baddbmm_(inputs.transpose(1, 2), outputs)
    return (filters.T @ total.view(36, -1)).view(3, 3, channels, outs).permute(3, 2, 0, 1).contiguous()


class _Block:
    """A block of a picture: `read`, then `convolve`, then `write`; the same object is used for one block after the other.

    It has a buffer for each step. All steps are split over threads in the same way, so that each thread reads what it has written
    itself: on cores without a common cache, memory written by other threads would take as long to read as the products.
    """

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        (_, self.channels, height, width), self.outs = x.shape, len(weight)
        self.to_points, filters, self.from_points = (matrix.to(x) for matrix in _matrices())
        self.filter = (filters @ weight.reshape(-1, 9).T).view(36, self.outs, self.channels).transpose(1, 2)  # [36, C, O]
        self.bias = x.new_zeros(self.outs) if bias is None else bias
        count = max(_TILES, _VALUES // self.channels)
        across = min(-(-width // 4), 1 << int(count**0.5).bit_length())
        down = min(-(-height // 4), count // across)
        #: Height and width of a whole block, in positions.
        self.height, self.width = 4 * down, 4 * across
        self._make_buffers()

    def _make_buffers(self) -> None:
        tiles, like = self.height * self.width // 16, self.filter
        self.padded = like.new_empty(self.height + 2, self.width + 2, self.channels)
        self.inputs = [like.new_empty(36 * tiles * self.channels) for _ in range(3)]
        self.results = [like.new_empty(n * tiles * self.outs) for n in (36, 24, 16)]

    def another(self) -> "_Block":
        """The same with buffers of its own, for another thread."""
        new = copy.copy(self)
        new._make_buffers()
        return new

    def read(self, source: Tensor, top: int, left: int) -> Tensor:
        """Copy the block at `top`, `left` of `source [H, W, C]` with a margin of one position, zeros beyond the picture.

        Returns:
            The part of the copy within the picture, as a view through which it can be changed.
        """
        height, width = source.shape[:2]
        self.h, self.w = -(-(min(top + self.height, height) - top) // 4), -(-(min(left + self.width, width) - left) // 4)
        self.block = self.padded[: 4 * self.h + 2, : 4 * self.w + 2]
        return _cut(source, self.block, top - 1, left - 1)

    def convolve(self) -> None:
        """Transform tiles to values at the points, multiply by the filter, transform back to 4x4 outputs `[column, row, h, w, O]`."""
        points = self.points()
        products = _part(self.results[0], 36, self.h * self.w, self.outs)
        torch.bmm(points.view(36, self.h * self.w, self.channels), self.filter, out=products)
        self.tiles = _along_both(self.from_points, products.view(6, 6, -1), *self.results[1:])

    def points(self) -> Tensor:
        """The tiles' values at the points, `[i, j, h w C]`."""
        tiles = _part(self.inputs[0], 6, 6, self.h, self.w, self.channels)  # [j, i, ...]
        tiles.copy_(self.block.unfold(0, 6, 4).unfold(1, 6, 4).permute(4, 3, 0, 1, 2))
        return _along_both(self.to_points, tiles.flatten(2), *self.inputs[1:])

    def write(self, place: Tensor, added: Tensor | None) -> None:
        """Write the outputs, plus the bias and `added`, to their `place [rows, columns, O]`, cut where the picture ends."""
        rows, columns = place.shape[:2]
        direct = added is None and (rows, columns) == (4 * self.h, 4 * self.w)
        target = place if direct else _part(self.results[0], 4 * self.h, 4 * self.w, self.outs)
        in_order = self.tiles.view(4, 4, self.h, self.w, self.outs).permute(2, 1, 3, 0, 4)
        torch.add(in_order, self.bias, out=target.unflatten(1, (self.w, 4)).unflatten(0, (self.h, 4)))
        if added is not None:
            torch.add(target[:rows, :columns], added, out=place)
        elif not direct:
            place.copy_(target[:rows, :columns])


def _cut(source: Tensor, block: Tensor, top: int, left: int) -> Tensor:
    """Fill `block [h, w, C]` from `source [H, W, C]` at `top`, `left`, with zeros beyond it; returns the part within `source`."""
    (height, width), (h, w) = source.shape[:2], block.shape[:2]
    t, b, l, r = max(0, -top), min(h, height - top), max(0, -left), min(w, width - left)
    for beyond in (block[:t], block[b:], block[:, :l], block[:, r:]):
        if beyond.numel():
            beyond.zero_()
    return block[t:b, l:r].copy_(source[top + t : top + b, left + l : left + r])


def _part(buffer: Tensor, *shape: int) -> Tensor:
    """The beginning of a buffer as a view of `shape`."""
    return buffer[: math.prod(shape)].view(shape)


def _along_both(matrix: Tensor, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Multiply `matrix [m, k]` into both leading axes of `x [k, k, size]`, and swap these: `[m, m, size]`, in the buffer `second`."""
    return _times(matrix, _times(matrix, x, first).transpose(0, 1), second)


def _times(matrix: Tensor, x: Tensor, buffer: Tensor) -> Tensor:
    """Multiply `matrix [m, n]` into the second axis of `x [k, n, size]`: `[k, m, size]`, in `buffer`."""
    k, _, size = x.shape
    return torch.bmm(matrix.expand(k, -1, -1), x, out=_part(buffer, k, len(matrix), size))


@cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Transforms in float64: `[6, 6]` of inputs and `[36, 9]` of the whole filter to the points, `[4, 6]` of products to outputs.

    With l_p the product of (x - q) over all points q but p: the columns of the outputs' matrix are the powers of each point p, the
    rows of the filter's matrix the powers of p divided by l_p(p), those of the inputs' matrix the coefficients of l_p. The point
    infinity has the leading coefficients.
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
    """Powers 0 to `count` - 1 of each point in a row, and of infinity in the last row: `[6, count]`."""
    return np.vstack([np.vander(points, count, increasing=True), np.eye(count)[-1]])
