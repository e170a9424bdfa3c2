"""Base of kinds whose transformer takes one step a position, each after those before it.

A position goes in as one vector, and the state after it predicts all ids of the next one, and whether there is one. With K ids a
position the transformer takes K times fewer steps than over the same ids one by one; the distribution of a sequence is still a
product of conditionals. Letters: B batch, K codebooks, S steps, n positions with labels, D width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....codecs.config import ConfigError
from ....codecs.tokens import Tokens
from ..attention import same_document
from ..packing.base import Packing
from ..packing.parallel import ParallelPacking
from ..sampling import Drawn, SamplerConfig
from .base import Generator
from .trunk import Trunk


class StreamGenerator(Generator):
    """A kind writes `embed`, `nats` and `draw`."""

    def __init__(self, config: Any, packing: Packing) -> None:
        super().__init__(config, packing)
        if not isinstance(packing, ParallelPacking):
            raise ConfigError(f"kind {config.kind} takes one position a step: pack as 'parallel', not {packing.config.kind!r}.")
        self.trunk = Trunk(config.width, config.layers, config.heads)
        #: stands for the begin token
        self.begin = nn.Parameter(torch.randn(config.width))
        #: log odds that a medium ends here
        self.ending = nn.Linear(config.width, 1)

    def embed(self, own: Tensor) -> Tensor:
        """Vectors `[n, D]` of positions with own ids `[n, K]`."""
        raise NotImplementedError

    def nats(self, state: Tensor, own: Tensor) -> Tensor:
        """-log p `[n, K]` of own ids `[n, K]` given states `[n, D]`; a row's sum is that of the position."""
        raise NotImplementedError

    def draw(self, state: Tensor, config: SamplerConfig, generator: torch.Generator) -> Tensor:
        """Own ids `[n, K]` drawn for states `[n, D]`."""
        raise NotImplementedError

    def inputs(self, ids: Tensor) -> Tensor:
        """Vectors `[B, S, D]` of steps with ids of the vocabulary `[B, K, S]`."""
        own, held = self.own(ids)
        x = self.begin.expand(*held.shape, -1).clone()
        x[held] = self.embed(own[held])
        return x

    def losses(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, mask = self.inputs(batch["input_ids"]), same_document(batch["document_ids"])
        state = self.trunk(x, mask=mask, positions=batch["position_ids"])[:, :-1]
        target = batch["labels"][..., 1:]  # [B, K, S - 1]
        own, held = self.own(target)
        ends = target[:, 0] == self.packing.end_id  # in all rows at once
        may_end = batch["input_ids"][:, 0, :-1] != self.packing.begin_id  # a medium has at least one position
        odds = self.ending(state)[..., 0].float()
        nats = self.nats(state[held], own[held])
        goes_on = F.pad((F.softplus(odds) * may_end)[held][:, None], (0, nats.shape[1] - 1))  # part of a position's first id
        stops = (F.softplus(-odds) * may_end)[ends]
        return torch.cat([(nats + goes_on).flatten(), stops]), torch.cat([target.mT[held].flatten(), target[:, 0][ends]])

    @torch.no_grad()
    def sample(
        self, positions: int, prompt: Tokens | None = None, *, config: SamplerConfig, seed: int, codes: Sequence[Tensor] = ()
    ) -> Drawn:
        generator, books = torch.Generator().manual_seed(seed), len(self.packing.vocab_sizes)
        own = torch.zeros(0, books, dtype=torch.int64) if prompt is None else prompt.ids[0].mT
        given = len(own)
        steps = torch.cat([self.begin[None], self.embed(own)] if given else [self.begin[None]])[None]
        cache, passes = None, 0
        while len(own) < positions:
            state, cache = self.trunk.step(steps, cache)
            passes += 1
            chance = torch.sigmoid(self.ending(state)).item()
            limit = 0.5 if config.temperature == 0 else torch.rand((), generator=generator).item()
            if len(own) and chance > limit:
                break
            found = self.draw(state, config, generator)
            own, steps = torch.cat([own, found]), self.embed(found)[None]
        return Drawn(self.unpacked(own), passes, (len(own) - given) * books)
