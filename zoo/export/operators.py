"""Operators of PyTorch that its ONNX exporter does not know, written with ONNX's own; arguments have the names of those operators.

Letters: N rows, M rows of another matrix, D width.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram

from .recurrent import onnx_lstm


def searchsorted(
    sorted_sequence: Any, self: Any, out_int32: bool = False, right: bool = False, side: Any = None, sorter: Any = None
) -> Any:
    """`aten.searchsorted.Tensor` of a sequence `[V]`: how many of its values are smaller, or not larger with `right`."""
    from onnxscript import opset20

    op: Any = opset20
    if sorter is not None or len(sorted_sequence.shape) != 1:
        raise ValueError("searchsorted of several sequences, or of one by a sorter, has no form in ONNX here")
    x = op.Unsqueeze(self, op.Constant(value_ints=[-1]))
    below = op.LessOrEqual(sorted_sequence, x) if right or side == "right" else op.Less(sorted_sequence, x)
    count = op.ReduceSum(op.Cast(below, to=_INT64), op.Constant(value_ints=[-1]), keepdims=0)
    return op.Cast(count, to=_INT32) if out_int32 else count


def cdist(x1: Any, x2: Any, p: float, compute_mode: Any = None) -> Any:
    """`aten._cdist_forward` of `[N, D]` and `[M, D]` for Euclidean distances."""
    from onnxscript import opset20

    op: Any = opset20
    if p != 2:
        raise ValueError(f"cdist of p={p} has no form in ONNX here")
    difference = op.Sub(op.Unsqueeze(x1, op.Constant(value_ints=[-2])), op.Unsqueeze(x2, op.Constant(value_ints=[-3])))
    return op.Sqrt(op.ReduceSum(op.Mul(difference, difference), op.Constant(value_ints=[-1]), keepdims=0))


def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, **_: Any) -> Any:
    """`aten.hamming_window`: its values, since the length is a number of the graph."""
    from onnxscript import opset20

    op: Any = opset20
    return op.Constant(value_floats=torch.hamming_window(window_length, periodic, alpha, beta).tolist())


def floordiv(a: Any, b: Any) -> Any:
    """`a // b` of sizes; ONNX's own division of integers rounds towards zero."""
    from onnxscript import opset20

    op: Any = opset20
    return op.Div(op.Sub(a, op.Mod(a, b)), b)


_INT32, _INT64 = 6, 7
#: For `torch.onnx.export`.
TRANSLATIONS: dict[Any, Callable[..., Any]] = {
    operator.floordiv: floordiv,
    torch.ops.aten.lstm.input: onnx_lstm,
    torch.ops.aten.searchsorted.Tensor: searchsorted,
    torch.ops.aten._cdist_forward.default: cdist,
    torch.ops.aten.hamming_window.periodic_alpha_beta: hamming_window,
    torch.ops.aten.hamming_window.periodic: hamming_window,
}


def order_attention(program: ExportedProgram) -> None:
    """Let the results of a graph's attention lie in memory axis by axis, as those of the products that ONNX takes it apart into do.

    PyTorch's own attention leaves them position by position; views that rely on it could not be written.
    """
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.scaled_dot_product_attention.default:
            with program.graph.inserting_after(node):
                ordered = program.graph.call_function(torch.ops.aten.contiguous.default, (node,))
            ordered.meta.update(node.meta)
            node.replace_all_uses_with(ordered, delete_user_cb=lambda user, own=ordered: user is not own)
