"""Conditions under which the kernels of this folder run: on a CPU, without gradients. Else PyTorch's own implementations run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_plain = False


@contextmanager
def plain() -> Iterator[None]:
    """Context manager: PyTorch's own implementations run in the block, in the whole process; to count a model's operations, say."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


def is_plain() -> bool:
    """Whether a block of `plain` is running."""
    return _plain


def cpu_inference(x: Tensor) -> bool:
    """Whether `x` is on a CPU, and neither gradients nor autocast are on, so that layers may choose memory layout and buffers."""
    return x.device.type == "cpu" and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or _plain)


def channels_last(x: Tensor) -> Tensor:
    """`x [B, C, H, W]` in channels-last memory, the fastest for convolutions on a CPU; unchanged unless `cpu_inference`."""
    return x.contiguous(memory_format=torch.channels_last) if cpu_inference(x) else x


def empty_like_layout(x: Tensor, *shape: int) -> Tensor:
    """An empty tensor of the 4-D `shape`, with dtype and device of `x`, in the memory layout that is fastest there."""
    layout = torch.channels_last if cpu_inference(x) else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


class Layer2d(nn.Module):
    """Base of layers over `[B, C, H, W]` whose output is always a new tensor: not the input, a view of it, or a stored one."""


def watched(module: nn.Module) -> bool:
    """Whether `module` or a submodule has forward hooks; then it must be called as usual, and its tensors not be overwritten."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
