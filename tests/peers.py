"""Peers of the sweeps: classes of transformers, behind the two methods that test_options.py asks for."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from image_cases import enliven
from torch import Tensor, nn

SWEEPS: dict[str, Any] = {}  # none of its own

#: Keys that describe a file; weights here are float32 whatever the published ones were.
_NOT_ARGUMENTS = ("model_type", "architectures", "transformers_version", "dtype", "torch_dtype")


class Peer:
    """A module and how it gives ids."""

    def __init__(self, module: nn.Module, ids: Callable[[Any, Tensor], Tensor]) -> None:
        self.module, self._ids = module.eval(), ids

    def state_dict(self) -> dict[str, Tensor]:
        return {k: v.clone() for k, v in self.module.state_dict().items()}

    def ids(self, x: Tensor) -> Tensor:
        return self._ids(self.module, x).long()


def of_transformers(
    name: str, ids: Callable[[Any, Tensor], Tensor], prepare: Callable[[nn.Module], None] | None = None, derived: tuple[str, ...] = ()
) -> Any:
    """A `Sweep.peer` for the class `{name}Model` of transformers with its `{name}Config`; None where it is not installed.

    Args:
        name: of model and config.
        ids: ids `[B, K, L]` of the model for clips.
        prepare: fills what the class starts at zero.
        derived: keys of older files that this release of the class computes, and does not take.
    """

    def make(config: dict[str, Any]) -> Peer | None:
        try:
            import transformers
        except ImportError:
            return None
        torch.manual_seed(0)
        values = {k: v for k, v in config.items() if k not in _NOT_ARGUMENTS and k not in derived}
        module = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**values))
        if prepare is not None:
            with torch.no_grad():
                prepare(module)
        return Peer(module, ids)

    return make


def peer_of(
    package: str, name: str, config: str, ids: Callable[[nn.Module, Tensor], Tensor], *, left_out: tuple[str, ...] = ()
) -> Any:
    """A `Sweep.peer` for the class `name` of a package, with livened weights.

    Args:
        package: "transformers" or "diffusers".
        name: of the class.
        config: of its config class; "": the class takes the arguments themselves.
        ids: of the module and a batch.
        left_out: keys of ours that the class does not know.
    """

    def make(values: dict[str, Any]) -> Peer | None:
        try:
            module = importlib.import_module(package)
        except ImportError:
            return None
        torch.manual_seed(0)
        own = {k: v for k, v in values.items() if k not in (*_NOT_ARGUMENTS, *left_out) and k[0] != "_"}
        peer = getattr(module, name)(getattr(module, config)(**own)) if config else getattr(module, name)(**own)
        enliven(peer)
        return Peer(peer, ids)

    return make


def fill_buffers(module: nn.Module, **means_and_sizes: float) -> None:
    """Random normal values, times the size, in every buffer of this last name."""
    for name, buffer in module.named_buffers():
        last = name.rsplit(".", 1)[-1]
        if last in means_and_sizes:
            buffer.copy_(means_and_sizes[last] * torch.randn(buffer.shape))


def lively(module: nn.Module) -> None:
    """Weights that keep the size of what passes: as their classes start them, tiny networks give one id for everything."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in module.parameters():
            scale = 1.5 * p[0].numel() ** -0.5 if p.ndim > 1 else 0.2
            p.copy_(scale * torch.randn(p.shape, generator=generator))
