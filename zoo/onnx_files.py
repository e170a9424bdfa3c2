"""Reads the weights out of ONNX files; the package `onnx` (extra `onnx`) parses them, nothing is run.

An exporter names a graph's constants as it likes ("onnx::MatMul_2536"), but its nodes after the modules that they come from. So a
constant is returned under the name of the node that takes it, and what it is to that node:

    /conv1/Conv/weight, /conv1/Conv/bias                    second and third input of a Conv, a Gemm or a LayerNormalization
    /blocks.0/attn/query/MatMul/operand                     the only constant of another node
    /mel/Where/operand.1, /mel/Where/operand.2              one of several, by the number of the input
    /conv1/Conv/strides                                     of a Conv, int64
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codecs.serialize import CheckpointError

#: Nodes whose inputs have names of their own: operation -> names from the second input on.
_NAMED = dict.fromkeys(("Conv", "Gemm", "LayerNormalization"), ("weight", "bias"))


def read_onnx(path: Path) -> dict[str, Tensor]:
    """Return the constants of an ONNX graph: floating-point tensors of more than one number, by node; see the top of the file.

    Raises:
        CheckpointError: it is no ONNX file, keeps weights in files beside it, or names two nodes alike.
        ImportError: the package onnx is not installed.
    """
    onnx = _onnx()
    try:
        graph = onnx.load(str(path), load_external_data=False).graph  # other files, wherever they lie, are never opened
        found = _constants(graph)
        tensors = {name: _tensor(onnx, value) for name, value in found.items() if _is_float(onnx, value)}
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:  # protobuf and NumPy have errors of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise CheckpointError(f"{path} is no ONNX file that can be read ({reason}); download or copy it again.") from error
    out: dict[str, Tensor] = {}
    for node in graph.node:
        for name, value in _of_node(node, tensors):
            if name in out:
                raise CheckpointError(f"{path} has two nodes named {node.name!r}.")
            out[name] = value
    if not out:
        raise CheckpointError(f"{path} holds no weights.")
    return out


def _onnx() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError("ONNX files are read by the package onnx: pip install 'tokenzoo[onnx]'.") from error
    return onnx


def _constants(graph: Any) -> dict[str, Any]:
    """TensorProtos by the names that nodes know them by: initializers, and outputs of nodes that are constants."""
    found = {value.name: value for value in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found |= dict.fromkeys(node.output, next((a.t for a in node.attribute if a.name == "value"), None))
    return {name: value for name, value in found.items() if value is not None}


def _is_float(onnx: Any, value: Any) -> bool:
    kinds = onnx.TensorProto
    return value.data_type in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE)


def _tensor(onnx: Any, value: Any) -> Tensor:
    if value.data_location == onnx.TensorProto.EXTERNAL:
        raise CheckpointError("keeps its weights in files beside it; only files that hold their own are read.")
    return torch.from_numpy(onnx.numpy_helper.to_array(value).copy())


def _of_node(node: Any, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of everything that one node takes as constant."""
    own = [(i, tensors[name]) for i, name in enumerate(node.input) if name in tensors and tensors[name].numel() > 1]
    named = _NAMED.get(node.op_type)
    for i, value in own:
        last = named[i - 1] if named and 0 < i <= len(named) else "operand" if len(own) == 1 else f"operand.{i}"
        yield f"{node.name}/{last}", value
    if node.op_type == "Conv" and own:
        strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [])
        if strides:
            yield f"{node.name}/strides", torch.tensor(strides)
