"""Less memory for more time: blocks are computed a second time in the backward pass (arXiv 1604.06174, "gradient checkpointing").

A block of a transformer keeps about twenty tensors of its input's size for the backward pass. With `recompute_blocks` of a run it keeps
its input alone; in the backward pass it is computed anew from it, with the same random numbers, and gives the same gradients.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from ..codecs.config import ConfigError
from ..codecs.recomputable import Recomputable


def recomputable_blocks(tokenizer: nn.Module) -> list[nn.Module]:
    """The blocks of a tokenizer that may be computed twice, none of them inside another.

    Raises:
        ConfigError: it has none.
    """
    found: dict[str, nn.Module] = {}
    for name, module in tokenizer.named_modules():
        if isinstance(module, Recomputable) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = tokenizer.get_submodule(name)
    if not found:
        raise ConfigError(
            f"recompute_blocks is true, but {type(tokenizer).__name__} has no blocks marked as `Recomputable`. Leave it out; "
            "`accumulation` saves memory with every tokenizer."
        )
    return list(found.values())


@contextmanager
def recomputed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Context manager of a forward pass, in which these blocks keep nothing but their inputs for the backward pass."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # on the object, before the method of its class
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
