"""A device that exists in name only: tensors on it live in the CPU's memory, and every wait of the host for it is written down.

    with far() as device:
        tokenizer.to(device)
        with waits() as found:
            tokenizer.encode(x)
        assert not found.of("to host")

It stands for an accelerator where there is none: code that asks for the type of a device takes its way, tensors of two devices
do not mix, and what makes a host wait for a CUDA device is counted: values that are read (`.item()`, `.cpu()`, `if tensor:`),
shapes that depend on values (`nonzero`, boolean indices), and copies to the device without `non_blocking`. Registering the device
cannot be undone and changes what PyTorch takes for the accelerator of the process, so this is used in a process of its own.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

NAME = "far"
aten = torch.ops.aten
#: Operators whose result's shape depends on values, besides indexing with booleans.
_BY_VALUE = ("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "equal", "is_nonzero")


@dataclass
class Waits:
    """What made the host wait: ("to host", "to device" or "by value", operator, place in this library)."""

    events: list[tuple[str, str, str]] = field(default_factory=list)

    def of(self, *kinds: str) -> list[str]:
        """Events of these kinds as text; without any, all."""
        return [f"{kind}: {name} at {place}" for kind, name, place in self.events if not kinds or kind in kinds]


class _Far(torch.Tensor):
    """A tensor of the device, around one of the CPU."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "_Far":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
            requires_grad=held.requires_grad,
        )
        made.held = held.detach()
        return made

    def tolist(self) -> Any:
        """As of any device: through the CPU."""
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        """Refused, as for any device but the CPU."""
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host memory first.")

    def data_ptr(self) -> int:
        """Of the tensor inside."""
        return self.held.data_ptr()

    def __repr__(self, **_: Any) -> str:
        return f"{NAME}({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, dict(kwargs or {}))


_found: list[Waits] = []


def _note(kind: str, func: Any) -> None:
    if not _found:
        return
    root = Path(__file__).resolve().parents[1]
    names = [(Path(f.filename), f.lineno) for f in traceback.extract_stack()]
    inside = [(p.relative_to(root), n) for p, n in names if p.is_relative_to(root)]
    ours = [(p, n) for p, n in inside if p.parts[0] in ("codecs", "train", "zoo")]
    place = f"{ours[-1][0].as_posix()}:{ours[-1][1]}" if ours else "a test"
    for found in _found:
        found.events.append((kind, str(func).removeprefix("aten.").partition(".")[0], place))


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat, spec = tree_flatten((args, kwargs))
    tensors = [t for t in flat if isinstance(t, torch.Tensor)]
    own = {id(t.held): t for t in tensors if isinstance(t, _Far)}
    name = str(func).removeprefix("aten.").partition(".")[0]
    wanted = kwargs.get("device")
    goes_away = wanted is not None and torch.device(wanted).type != NAME
    if name in ("copy_", "_to_copy", "_copy_from"):
        source = args[1] if name == "copy_" else args[0]
        here = isinstance(source, _Far)
        there = isinstance(args[0], _Far) if name == "copy_" else (not goes_away if wanted else bool(own))
        waited = here or not (args[2] if name == "copy_" and len(args) > 2 else kwargs.get("non_blocking"))
        if here != there and source.numel() and waited:
            _note("to host" if here else "to device", func)
    elif own:
        _check(name, args, tensors, func)
    if own and name in ("_local_scalar_dense", "item"):
        _note("to host", func)
    elif own and name in _BY_VALUE:
        _note("by value", func)
    if wanted is not None and not goes_away:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        flat, spec = tree_flatten((args, kwargs))
    back, forth = tree_unflatten([t.held if isinstance(t, _Far) else t for t in flat], spec)
    made = _lstm_cell(*back) if name == "_thnn_fused_lstm_cell" else func(*back, **forth)
    if name in ("_to_copy", "_pin_memory") and goes_away:
        return made
    if not own and (wanted is None or goes_away):
        return made
    return tree_map_only(torch.Tensor, lambda t: own.get(id(t)) if id(t) in own else _Far(t), made)


def _lstm_cell(of_input: Any, of_hidden: Any, cell: Any, *biases: Any) -> tuple[torch.Tensor, ...]:
    """The step of an LSTM that devices compute in one kernel: new output and cell of gates `[B, 4H]`, and what backward needs."""
    gates = sum(b for b in biases if b is not None) + of_input + of_hidden
    i, f, g, o = gates.chunk(4, dim=1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell, gates


def _check(name: str, args: Any, tensors: list[torch.Tensor], func: Any) -> None:
    """Refuse tensors of two devices, as CUDA does: numbers, and indices, may lie on the CPU."""
    if name.startswith(("index", "_index_put", "_unsafe_index")) and len(args) > 1 and isinstance(args[1], (list, tuple)):
        indices = [t for t in args[1] if t is not None]
        if any(t.dtype in (torch.bool, torch.uint8) for t in indices):
            _note("by value", func)
        if isinstance(args[0], _Far) and any(not isinstance(t, _Far) for t in indices):
            _note("to device", func)
        tensors = [t for t in tensors if not any(t is i for i in indices)]
    if any(not isinstance(t, _Far) and t.ndim for t in tensors):
        kinds = ", ".join(f"{t.device} {list(t.shape)}" for t in tensors)
        raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got {kinds}.")


class _Mode(TorchDispatchMode):
    """Makes tensors of the device, and runs this library's own operators on it step by step."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith("tokenzoo.search_codes"):
            from tokenzoo.codecs.quantizers.parts import nearest

            with self:
                return nearest._find(*args, **(kwargs or {}))
        return _run(func, args, dict(kwargs or {}))


class _Module:
    """What PyTorch asks of a device's module."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def device_count(self) -> int:
        return 1

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def is_autocast_enabled(self) -> bool:
        return False


def possible() -> bool:
    """Whether this PyTorch can have devices that are written in Python."""
    from torch.utils import backend_registration

    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


@contextmanager
def far() -> Iterator[torch.device]:
    """The device, which exists in this block."""
    from torch.utils import backend_registration

    if NAME not in vars(torch):
        backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(..., device=)` makes it on the CPU, and moves it
    try:
        with _Mode():
            yield torch.device(NAME, 0)
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


@contextmanager
def waits() -> Iterator[Waits]:
    """What makes the host wait in this block."""
    found = Waits()
    _found.append(found)
    try:
        yield found
    finally:
        _found.remove(found)
