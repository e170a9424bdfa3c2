"""When the kernels of this folder run: on a CPU, without gradients. Everything else is PyTorch's own."""

import torch
from torch import Tensor, nn


def cpu_inference(x: Tensor) -> bool:
    """Whether `x` passes through a CPU without gradients or autocast, where memory layout and buffers are free to choose."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def channels_last(x: Tensor) -> Tensor:
    """`x [B, C, H, W]` in channels-last memory, the fastest for convolutions on a CPU; with gradients or elsewhere as it is."""
    return x.contiguous(memory_format=torch.channels_last) if cpu_inference(x) else x


def empty_like_layout(x: Tensor, *shape: int) -> Tensor:
    """Room for `shape`, four numbers, of the type and on the device of `x`, in the memory layout that is fastest there."""
    layout = torch.channels_last if cpu_inference(x) else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


class Layer2d(nn.Module):
    """Base of layers over `[B, C, H, W]`: what they return is a new tensor, not their input, a view of it, or one that they keep."""


def watched(module: nn.Module) -> bool:
    """Whether hooks look into `module` or a part of it, which must then be called, and its tensors left alone."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
