"""Take a tokenizer out of the wrappers of PyTorch and accelerate.

    unwrap(torch.compile(tokenizer)) is tokenizer
"""

from typing import Any

from torch import nn

from .tokenizer import Tokenizer

#: Wrapper classes by name, so that none of them needs to be imported.
_WRAPPERS = (
    "OptimizedModule", "DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "DeepSpeedEngine", "AveragedModel",
)  # fmt: skip


def unwrap(model: Any) -> Tokenizer:
    """Return the tokenizer inside wrappers of `torch.compile`, `DataParallel`, `DistributedDataParallel` or accelerate.

    Args:
        model: a tokenizer, or wrappers around one, in any order.

    Raises:
        ValueError: there is no tokenizer inside, or its weights are sharded over processes (FSDP).
    """
    inner = bare(model)
    if not isinstance(inner, Tokenizer):
        raise ValueError(
            f"got {type(inner).__name__}; allowed is a tokenizer, also inside torch.compile, DataParallel or "
            "DistributedDataParallel. Of a module that holds one, pass the tokenizer itself."
        )
    # FSDP1 replaces weights by flat parameters, FSDP2 by DTensors, which have `full_tensor`
    if any(name.endswith("_flat_param") or hasattr(p, "full_tensor") for name, p in inner.named_parameters()):
        raise ValueError(
            "the weights of this tokenizer are spread over processes. Gather its full state dict, load it into a tokenizer "
            "built from the same config, and pass that one."
        )
    return inner


def bare(model: Any) -> Any:
    """The module inside the wrappers around `model`; anything that is not wrapped is returned unchanged."""
    while isinstance(model, nn.Module) and type(model).__name__ in _WRAPPERS:
        model = model._modules.get("_orig_mod", model._modules.get("_fsdp_wrapped_module", model._modules.get("module")))
    return model
