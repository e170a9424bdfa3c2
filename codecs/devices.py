"""Devices and number types by the words that commands, run files and `load` take. Torch is imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Words for a device; `cuda:1` names one of several GPUs.
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
#: Words for a number type.
DTYPES = ("float32", "bfloat16", "float16")
#: Short words that are understood as well.
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def pick_device(name: torch.device | str | None) -> torch.device:
    """The device that `name` means.

    Args:
        name: "auto": the CUDA GPU where there is one, else the CPU (Apple's "mps" is taken by name only: no test of this
            project runs on it); "cpu", "cuda", "cuda:1", "mps"; a `torch.device`; None: the CPU.

    Raises:
        ValueError: another word, or a device that this machine does not have.
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
    """The word of `DTYPES` that `name` means: one of them, or its short form "fp32", "bf16", "fp16".

    Raises:
        ValueError: another word.
    """
    word = _SHORT.get(name, name) if isinstance(name, str) else name
    if word not in DTYPES:
        raise ValueError(f"dtype is {name!r}; allowed: {', '.join(DTYPES)} ({', '.join(_SHORT)} are understood too).")
    return word


def pick_dtype(name: torch.dtype | str | None) -> torch.dtype | None:
    """The floating type that `name` means: a `torch.dtype`, or a word that `dtype_name` takes; None stays None.

    Raises:
        ValueError: another word, or a type that is not one of floats.
    """
    import torch

    if name is None:
        return None
    found = getattr(torch, dtype_name(name)) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype is {name!r}; allowed: {', '.join(DTYPES)}, or a floating torch.dtype.")
    return found
