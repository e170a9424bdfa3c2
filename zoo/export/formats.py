"""A traced graph as a file: ONNX, or PyTorch's own archive of graphs."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.export import ExportedProgram

from .halves import Half
from .operators import TRANSLATIONS, order_attention
from .recurrent import any_length

Format = Literal["onnx", "torch-export"]
#: Version of ONNX's set of operators; ONNX Runtime reads it from 1.17 on.
OPSET = 20
#: Endings of the files of each format.
ENDINGS: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2"}


def write(program: ExportedProgram, half: Half, path: Path, to: Format) -> None:
    """Write the graph of `half` to `path`; weights of more than 2 GB go into a second file beside an ONNX file.

    Raises:
        ValueError: the package of the format is not installed, or an operator has no counterpart in ONNX.
    """
    if to == "torch-export":
        torch.export.save(program, path)
        return
    made = _to_onnx(program, half)
    made.save(path)


def _to_onnx(program: ExportedProgram, half: Half) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    order_attention(program)
    try:
        with any_length(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[i.name for i in half.inputs],
                output_names=list(half.outputs),
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(f"this graph cannot be written as ONNX: {_cause(error)}; write it with --to torch-export.") from error
    assert made is not None
    _rename(made.model, _symbols(program, half))
    return made


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _symbols(program: ExportedProgram, half: Half) -> dict[str, str]:
    """The tracer's symbols, such as "s77", -> names of the free axes."""
    names = {}
    values = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in program.graph_signature.user_inputs]
    for one, value in zip(half.inputs, values, strict=True):
        for axis, size in zip(one.axes, value.shape, strict=True):
            if isinstance(size, torch.SymInt):
                names |= {str(s): axis.name for s in size.node.expr.free_symbols}
    return names


def _rename(model: Any, names: dict[str, str]) -> None:
    """Write names of axes in place of the tracer's symbols, and drop the notes on where in the source each node was made."""
    import onnx_ir

    def renamed(size: Any) -> Any:
        text = getattr(size, "value", None)
        return _named(text, names) if isinstance(text, str) else size

    values: list[Any] = [*model.graph.inputs, *model.graph.outputs]
    for node in onnx_ir.traversal.RecursiveGraphIterator(model.graph):
        node.metadata_props.clear()
        values += node.outputs
    for value in [*values, *model.graph.initializers.values()]:
        value.metadata_props.clear()
        if value.shape is not None:
            value.shape = onnx_ir.Shape([renamed(size) for size in value.shape])
    model.metadata_props.clear()
    model.graph.metadata_props.clear()


def stated_shapes(program: ExportedProgram, half: Half) -> Sequence[list[int | str]]:
    """Shapes of the outputs, as expressions of the names of the free axes, e.g. `["batch", 8, "length"]`."""
    names = _symbols(program, half)
    outputs = next(n for n in reversed(program.graph.nodes) if n.op == "output").args[0]
    return [[s if isinstance(s, int) else _named(str(s), names) for s in node.meta["val"].shape] for node in outputs]


def _named(expression: str, names: dict[str, str]) -> str:
    """An expression with names of axes in place of the tracer's symbols, as "320 * length" is written."""
    return re.sub(r"\bs\d+\b", lambda m: names.get(m[0], m[0]), expression).replace("*", " * ")
