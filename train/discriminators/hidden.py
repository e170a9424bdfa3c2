"""A frozen network inside a discriminator: it is used and moved with it, but is no part of its weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Hidden(nn.Module):
    """Holds a network that is never trained, saved or reduced over processes; gradients flow through it to its input.

    Args:
        network: its weights are frozen and it is set to eval mode for good.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._held = (network.requires_grad_(False).eval(),)  # a tuple: nn.Module does not register what is inside

    @property
    def network(self) -> Any:
        """The network itself."""
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Hidden":
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, *args: Any, **named: Any) -> Any:
        """Run the network in float32."""
        with torch.autocast(next(self.network.parameters()).device.type, enabled=False):
            return self.network(*args, **named)
