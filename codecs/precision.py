"""Tensors that stay float32 regardless of model dtype, autocast and PyTorch's default, so that half precision works everywhere."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class KeepsDtype(nn.Module):
    """Mix-in whose tensors move between devices but are never cast to another dtype, for tables and constants.

    With buffers named in `exact`, only these keep their dtype; otherwise all tensors of the module and its submodules do.
    """

    exact: ClassVar[tuple[str, ...]] = ()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "KeepsDtype":
        if not self.exact:
            return super()._apply(lambda tensor: _moved(tensor, fn(tensor)), recurse)
        before = {name: self._buffers[name] for name in self.exact}
        super()._apply(fn, recurse)
        for name, tensor in before.items():
            after = self._buffers[name]
            if tensor is not None and after is not None:
                self._buffers[name] = _moved(tensor, after)
        return self


def _moved(tensor: Tensor, after: Tensor) -> Tensor:
    """`tensor` on the device of `after`, with its dtype unchanged."""
    return after if after.dtype == tensor.dtype else tensor.to(after.device)


class LSTM(nn.LSTM):
    """`nn.LSTM` that runs in the dtype of its weights under CPU autocast, where PyTorch's own fails on many CPUs."""

    def forward(self, input: Tensor, hx: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  (no packed sequences)
        """Same arguments and outputs as those of `nn.LSTM.forward`."""
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input, hx)
        dtype = next(self.parameters()).dtype
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(dtype), None if hx is None else tuple(h.to(dtype) for h in hx))


def widened(x: Tensor) -> Tensor:
    """`x` in float32, or unchanged if it is float64: for sums, quotients and transforms that need more than half precision."""
    return x if x.dtype == torch.float64 else x.float()


def unit_norm(x: Tensor, dim: int = -1) -> Tensor:
    """`x` scaled to length 1 along `dim`, computed in float32, in the dtype of `x`; zeros stay zeros (in float16 eps 1e-12 is 0)."""
    return nn.functional.normalize(widened(x), dim=dim).to(x.dtype)


class _Count:
    lock = threading.Lock()
    inside = 0
    before = torch.float32


@contextlib.contextmanager
def float32_by_default() -> Iterator[None]:
    """Inside the block, new tensors are float32, whatever the default dtype is; for code that names no dtype.

    The default belongs to the whole process: the first thread that enters sets it, the last one that leaves restores it.
    """
    with _Count.lock:
        if not _Count.inside:
            _Count.before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32)
        _Count.inside += 1
    try:
        yield
    finally:
        with _Count.lock:
            _Count.inside -= 1
            if not _Count.inside:
                torch.set_default_dtype(_Count.before)
