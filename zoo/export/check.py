"""Compares an exported graph, or the file it was written to, with the half of the tokenizer that it was made of."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...codecs.kernels.mode import plain
from .errors import NotExportable
from .halves import Half

#: Differences that sums in another order explain: of media, relative to 1 + |value|; and one id in this many, at least one, since a
#: latent may lie on the border of two codes.
_CLOSE, _TIES = 1e-3, 100


def compare(half: Half, run: Callable[..., Sequence[Tensor]], part: str, what: str) -> None:
    """Raise NotExportable unless `run` and `half` agree, for one item of the example's size and for three of twice that."""
    for factor, batch in ((1, 1), (2, 3)):
        inputs = [i.example(factor, batch) for i in half.inputs]
        with torch.no_grad(), plain():
            own, made = half(*inputs), run(*inputs)
        for name, a, b in zip(half.outputs, own, made, strict=True):
            if not agree(a, b):
                raise NotExportable(half.tokenizer, part, f"{what} computes other {name} than the tokenizer, for {_example(inputs)}")


def _example(inputs: Sequence[Tensor]) -> str:
    return f"an input of shape {' and '.join(str(list(x.shape)) for x in inputs)}"


def agree(a: Tensor, b: Tensor) -> bool:
    """True where two results are equal up to the order of sums."""
    if a.shape != b.shape:
        return False
    if a.is_floating_point():
        return bool(((a - b).abs() <= _CLOSE * (1 + a.abs())).all())
    return int((a != b).sum()) <= max(1, a.numel() // _TIES)


def session_of(path: Path) -> Any:
    """An ONNX Runtime session of a file, on the CPU.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
        RuntimeError: it cannot run the graph, e.g. for want of an operator in float64.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors; its warnings are about its own optimisations
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base class of their own
        raise RuntimeError(f"ONNX Runtime cannot load the graph: {' '.join(str(error).split())[:200]}") from error


def runner(path: Path) -> Callable[..., list[Tensor]]:
    """A function from the inputs of an ONNX file, in order, to its outputs; raises RuntimeError where the graph cannot be run."""
    session = session_of(path)
    names = [i.name for i in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        feeds = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        try:
            return [torch.from_numpy(y) for y in session.run(None, feeds)]
        except Exception as error:  # its errors have no base class of their own
            raise RuntimeError(f"ONNX Runtime cannot run the graph: {' '.join(str(error).split())[:200]}") from error

    return run
