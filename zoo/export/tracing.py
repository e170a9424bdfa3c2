"""Half of a tokenizer -> graph of PyTorch operators, by `torch.export`, compared with the half itself."""

import builtins
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from ...codecs.kernels.mode import plain
from .check import compare
from .errors import NotExportable
from .halves import Axis, Half, Input
from .recurrent import any_length

#: Largest batch, and largest number of multiples of a free axis, that a file states.
_MOST_ROWS, _MOST = 4096, 1 << 20


def trace(half: Half, part: str) -> ExportedProgram:
    """The graph of `half`, with as many free axes as its operators allow; `half.inputs` then state which are.

    Args:
        half: in eval mode, on a CPU.
        part: "encoder" or "decoder", for messages.

    Raises:
        NotExportable: no graph could be made, or it computes other values.
    """
    wanted, problem = half.inputs, None
    attempts = [wanted, tuple(i.fixed(("batch",)) for i in wanted), tuple(i.fixed() for i in wanted)]
    while attempts:
        half.inputs = attempts.pop(0)
        try:
            with torch.no_grad(), plain(), any_length(), _sizes_stay_symbols():
                program = _program(half)
            half.inputs = tuple(replace(i, axes=_free_axes(i.axes, s)) for i, s in zip(half.inputs, _shapes(program), strict=True))
            compare(half, program.module(), part, "its graph")
        except Exception as error:  # of the tracer, of any layer, and of the comparison; fewer free axes are tried
            longer = _with_least(half.inputs, error)
            if longer != half.inputs:
                attempts.insert(0, longer)
            else:
                worded = isinstance(error, NotExportable) and not isinstance(problem, NotExportable)
                problem = error if worded or problem is None else problem
            continue
        return program
    assert problem is not None
    if isinstance(problem, NotExportable):
        raise problem
    raise NotExportable(half.tokenizer, part, _reason(problem)) from problem


def _program(half: Half) -> ExportedProgram:
    shapes: list[Any] = []
    dims = {"batch": Dim("batch", min=1, max=_MOST_ROWS)}
    for one in half.inputs:
        free: dict[int, Any] = {}
        for at, axis in enumerate(one.axes):
            if axis.multiple:
                dim = dims.setdefault(axis.name, Dim(axis.name, min=axis.least, max=_MOST))
                free[at] = dim if axis.multiple == 1 else axis.multiple * dim
        shapes.append(free)
    if half.variadic:
        shapes = [shapes[0], tuple(shapes[1:])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(half, tuple(i.example() for i in half.inputs), dynamic_shapes=tuple(shapes), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # source lines and paths of the machine that exported it
    # Choices of memory layout that hold for the example, such as "more than one item"; no result depends on them.
    program._guards_code = []
    return program


def _shapes(program: ExportedProgram) -> list[torch.Size]:
    """Symbolic shapes of the inputs of a program."""
    names = program.graph_signature.user_inputs
    return [n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder" and n.name in names]


def _free_axes(axes: Any, shape: torch.Size) -> Any:
    """Axes as a traced graph has them: operators may have fixed an axis that was free before."""
    return tuple(replace(a, multiple=0) if isinstance(n, int) else a for a, n in zip(axes, shape, strict=True))


def _with_least(inputs: tuple[Input, ...], error: Exception) -> tuple[Input, ...]:
    """The inputs with free axes as long as the tracer asks for in its error, "length = Dim('length', min=5, ...)"; else unchanged."""
    least = {name: int(count) for name, count in re.findall(r"(\w+) = Dim\('\1', min=(\d+)", str(error))}

    def longer(a: Axis) -> Axis:
        found = max(a.least, least.get(a.name, 0)) if a.multiple else a.least
        return replace(a, least=found, size=max(a.size, found * a.multiple) if a.multiple else a.size)

    return tuple(replace(i, axes=tuple(map(longer, i.axes))) for i in inputs)


@contextmanager
def _sizes_stay_symbols() -> Iterator[None]:
    """Inside, `len(tensor)` in the code of tokenizers gives the symbol of a free axis; Python's own `len` would fix it as a number."""
    modules = [m for name, m in list(sys.modules.items()) if m is not None and name.startswith(f"{_CODECS}.")]
    for module in modules:
        module.__dict__["len"] = _len
    try:
        yield
    finally:
        for module in modules:
            module.__dict__.pop("len", None)


_CODECS = plain.__module__.rpartition(".kernels")[0]


def _len(x: Any) -> Any:
    return x.shape[0] if isinstance(x, Tensor) else builtins.len(x)


def _reason(error: Exception) -> str:
    """One line about what the tracer met, with the place in this library where it did."""
    root = Path(__file__).parents[2]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(root / "codecs")]
    place = f" in {Path(frames[-1].filename).relative_to(root).as_posix()}, {frames[-1].name}" if frames else ""
    if isinstance(error, GuardOnDataDependentSymNode):
        return f"what it computes depends on values, where a graph knows shapes alone{place}"
    return f"{_line(error)}{place}"


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or [''])[0][:160].rstrip('.')}"
