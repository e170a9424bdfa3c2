"""Buffers that a module's `state_dict` leaves out (usage windows and the like): they affect training, so checkpoints keep them."""

from collections.abc import Mapping

from torch import Tensor, nn


def unsaved_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the buffers that `state_dict` leaves out, by name."""
    saved = module.state_dict().keys()
    return {name: value.detach().clone() for name, value in module.named_buffers() if name not in saved}


def load_buffers(module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Put back what `unsaved_buffers` returned, also if a buffer had another shape than it has now."""
    devices = {name: value.device for name, value in module.named_buffers()}
    for name, value in buffers.items():
        owner, _, leaf = name.rpartition(".")
        if name in devices:
            setattr(module.get_submodule(owner), leaf, value.to(devices[name]))
