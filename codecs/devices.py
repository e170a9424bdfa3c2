"""Devices and dtypes by name, as commands, run files and `load` take them. Torch is imported only when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Names of devices; `cuda:1` is one of several GPUs.
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
#: Names of dtypes.
DTYPES = ("float32", "bfloat16", "float16")
#: Short names that are allowed as well.
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def pick_device(name: torch.device | str | None) -> torch.device:
    """The device called `name`.

    Args:
        name: "auto": the CUDA GPU where there is one, else the CPU (Apple's "mps" is used only if it is named: no test of this
            project runs on it); "cpu", "cuda", "cuda:1", "mps"; a `torch.device`; None: the CPU.

    Raises:
        ValueError: another name, or a device that this machine does not have.
    """
    import torch

    if isinstance(name, torch.device):
        return name
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name or "cpu")
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"device is {name!r:.60}; allowed: {', '.join(DEVICES)}. {_here()}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} was requested. {_here()} Take 'auto' or 'cpu'.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device 'mps' was requested. {_here()} Take 'auto' or 'cpu'.")
    return device


def _here() -> str:
    import torch

    count = torch.cuda.device_count()
    if count:
        return f"This machine has {count} CUDA GPU{'s' * (count > 1)}: cuda:0{f' to cuda:{count - 1}' * (count > 1)}."
    reason = " (this PyTorch is built without CUDA)" if torch.version.cuda is None else ""
    return f"PyTorch finds no CUDA GPU on this machine{reason}."


def dtype_name(name: str) -> str:
    """The full name, one of `DTYPES`, of a dtype given by that name or by its short form "fp32", "bf16", "fp16".

    Raises:
        ValueError: another name.
    """
    word = _SHORT.get(name, name) if isinstance(name, str) else name
    if word not in DTYPES:
        raise ValueError(f"dtype is {name!r:.200}; allowed: {', '.join(DTYPES)} ({', '.join(_SHORT)} are understood too).")
    return word


def pick_dtype(name: torch.dtype | str | None) -> torch.dtype | None:
    """The floating-point dtype that `name` stands for: a `torch.dtype`, or a name that `dtype_name` takes; None stays None.

    Raises:
        ValueError: another name, or a dtype that is not floating-point.
    """
    import torch

    if name is None:
        return None
    found = getattr(torch, dtype_name(name)) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype is {name!r:.200}; allowed: {', '.join(DTYPES)}, or a floating torch.dtype.")
    return found
