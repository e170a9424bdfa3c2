"""A head that predicts the parts of a position: all at once, or each given those before it.

Letters: N positions, P parts (dimensions, codebooks, groups of bits), D width of the state, E width of the head, V values of a part.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....codecs.config import ConfigError
from ..sampling import SamplerConfig, draw, weights
from .trunk import Trunk


class PartsHead(nn.Module):
    """Distributions of the P parts of a position, from the transformer's state.

    Args:
        sizes: number of values of each part, in the order of prediction.
        width: of the state.
        layers: of a small causal transformer over the parts, whose first step is the state and whose step p is the state and the value
            of part p - 1 (TokenBridge, Sec. 3.3; the depth transformer of RQ-Transformer, arXiv:2203.01941). 0: one linear map of
            the state; parts are then independent of each other given the positions before.
        inner, heads: width and attention heads of that transformer.
    """

    closed: Tensor
    offsets: Tensor

    def __init__(self, sizes: tuple[int, ...], width: int, *, layers: int = 0, inner: int = 64, heads: int = 4) -> None:
        super().__init__()
        if layers and (inner < 1 or heads < 1 or inner % (2 * heads)):
            raise ConfigError(f"the head's width is {inner}, its attention heads are {heads}; give a multiple of twice the heads.")
        self.sizes, most = sizes, max(sizes)
        self.trunk = Trunk(inner, layers, heads) if layers else None
        if layers:
            self.enter = nn.Linear(width, inner)
            self.rows = nn.Parameter(torch.randn(sum(sizes), inner) * 0.5)
        self.out = nn.Parameter(torch.randn(len(sizes), inner if layers else width, most) * 0.02)
        closed = torch.zeros(len(sizes), most)
        for p, size in enumerate(sizes):
            closed[p, size:] = -torch.inf
        self.register_buffer("closed", closed, persistent=False)
        self.register_buffer("offsets", torch.tensor([sum(sizes[:p]) for p in range(len(sizes))]), persistent=False)

    def logits(self, state: Tensor, parts: Tensor) -> Tensor:
        """Logits of each part given those before it, -inf beyond its values.

        Args:
            state: `[N, D]`.
            parts: int64 `[N, P]`; read only with `layers`.

        Returns:
            `[N, P, V]`.
        """
        if self.trunk is None:
            return torch.einsum("nd,pdv->npv", state, self.out) + self.closed
        before = F.pad(self.rows[parts[:, :-1] + self.offsets[:-1]], (0, 0, 1, 0))  # [N, P, E]
        inner = self.trunk(before + self.enter(state)[:, None])
        return torch.einsum("npe,pev->npv", inner, self.out) + self.closed

    def nats(self, state: Tensor, parts: Tensor) -> Tensor:
        """-log p of each part `[N, P]`; arguments as of `logits`."""
        return F.cross_entropy(self.logits(state, parts).float().flatten(0, 1), parts.flatten(), reduction="none").view_as(parts)

    def draw(self, state: Tensor, config: SamplerConfig, generator: torch.Generator) -> Tensor:
        """Parts `[N, P]` drawn for states `[N, D]`."""
        if self.trunk is None:
            return draw(weights(self.logits(state, state), config), generator)
        entered, cache = self.enter(state)[:, None], None
        step, found = entered, []
        for p in range(len(self.sizes)):
            inner, cache = self.trunk.step(step, cache)  # [N, E]
            found.append(draw(weights(inner @ self.out[p] + self.closed[p], config), generator))
            step = entered + self.rows[found[-1] + self.offsets[p]][:, None]
        return torch.stack(found, dim=1)
