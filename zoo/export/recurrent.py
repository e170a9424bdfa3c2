"""LSTMs in graphs: for sequences of any length in `torch.export`, and as ONNX's own operator.

PyTorch finds the shapes of an LSTM's outputs by a loop over the steps, which fixes their number; inside `any_length` they are stated
instead. The graph holds `aten.lstm` either way.

Letters: T steps, B batch, N layers, S directions, D hidden width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._decomp import global_decomposition_table

_LSTM = torch.ops.aten.lstm.input


@contextmanager
def any_length() -> Iterator[None]:
    """Inside, graphs that `torch.export` makes take sequences of any length through LSTMs; values are not computed."""
    tables = [_LSTM.py_kernels, *global_decomposition_table.values()]
    before = [{key: table[key] for key in (table if table is _LSTM.py_kernels else [_LSTM]) if key in table} for table in tables]
    try:
        for table, own in zip(tables, before, strict=True):
            table.update(dict.fromkeys(own, _shapes))
        _LSTM._dispatch_cache.clear()
        yield
    finally:
        for table, own in zip(tables, before, strict=True):
            table.update(own)
        _LSTM._dispatch_cache.clear()


def _shapes(
    x: Tensor, last: Sequence[Tensor], weights: Sequence[Tensor], biased: bool, layers: int, dropout: float, train: bool, both: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Empty outputs `[T, B, S D]` (or `[B, T, S D]`), `[N S, B, D]` and `[N S, B, D]`; arguments are those of `aten.lstm.input`."""
    return x.new_empty(*x.shape[:2], last[0].shape[-1] * (1 + both)), torch.empty_like(last[0]), torch.empty_like(last[1])


def onnx_lstm(
    input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool, bidirectional: bool,
    batch_first: bool,
) -> Any:  # fmt: skip
    """`aten.lstm.input` by ONNX's LSTM, one operator a layer; the arguments, by name, are those of that operator.

    ONNX orders the gates input, output, forget, cell, and PyTorch input, forget, cell, output.
    """
    from onnxscript import opset20

    op: Any = opset20  # its own types know no value of a graph
    directions, each, width = 1 + bidirectional, 4 if has_biases else 2, params[1].shape[1]
    gates = [at for gate in (0, 3, 1, 2) for at in range(gate * width, (gate + 1) * width)]
    x = op.Transpose(input, perm=[1, 0, 2]) if batch_first else input  # [T, B, ...]

    def reordered(weight: Any) -> Any:
        return op.Gather(weight, op.Constant(value_ints=gates), axis=0)

    def stacked(parts: Sequence[Any]) -> Any:  # [S, ...]
        return op.Concat(*(op.Unsqueeze(p, op.Constant(value_ints=[0])) for p in parts), axis=0)

    hidden, cells = [], []
    for layer in range(num_layers):
        some = [params[(layer * directions + s) * each :][:each] for s in range(directions)]
        bounds = [op.Constant(value_ints=[at]) for at in (layer * directions, (layer + 1) * directions, 0)]
        first_h, first_c = (op.Slice(t, *bounds) for t in hx)
        y, last_h, last_c = op.LSTM(
            x,
            stacked([reordered(p[0]) for p in some]),
            stacked([reordered(p[1]) for p in some]),
            stacked([op.Concat(reordered(p[2]), reordered(p[3]), axis=0) for p in some]) if has_biases else None,
            None,
            first_h,
            first_c,
            hidden_size=width,
            direction="bidirectional" if bidirectional else "forward",
        )
        x = op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), op.Constant(value_ints=[0, 0, -1]))  # [T, S, B, D] to [T, B, S D]
        hidden.append(last_h)
        cells.append(last_c)
    x = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
    return x, op.Concat(*hidden, axis=0), op.Concat(*cells, axis=0)
