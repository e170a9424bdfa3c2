"""The devices and processes of a run, through accelerate."""

import os

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor

from ..codecs.config import ConfigError
from ..codecs.devices import pick_device
from .config import RunConfig


def connect(config: RunConfig) -> Accelerator:
    """Select the device of this process and, under `accelerate launch` or `torchrun`, connect it with the other processes.

    Raises:
        ConfigError: the machine has no such device, the process uses another one already, or several processes are given one GPU
            by its number.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        wanted = pick_device(config.device)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if wanted.index is not None and config.device != "auto":
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(f"device is {config.device!r}, but several processes run: each takes a separate GPU. Write 'cuda'.")
        torch.cuda.set_device(wanted.index)  # accelerate takes the current one
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=config.find_unused)
    try:  # "no": the step casts by itself, as `config.precision` specifies
        accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision="no", kwargs_handlers=[ddp])
    except ValueError as error:
        raise ConfigError(f"this process has begun with other settings of accelerate: {error} Start another one.") from error
    if config.device != "auto" and accelerator.device.type != wanted.type:
        raise ConfigError(
            f"device is {config.device!r}, but this process has already begun on {accelerator.device}. Start another one for it."
        )
    return accelerator


def mean_over(accelerator: Accelerator, value: Tensor) -> Tensor:
    """Mean of a tensor over all processes, the same on each."""
    mean = accelerator.reduce(value, "mean")
    assert isinstance(mean, Tensor)
    return mean


def any_process(accelerator: Accelerator, value: bool) -> bool:
    """True in all processes if `value` is True in one (all must call)."""
    if accelerator.num_processes == 1:
        return value
    return bool(mean_over(accelerator, torch.tensor([float(value)], device=accelerator.device)) > 0)
