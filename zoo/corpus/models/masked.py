"""`masked`: any ids of any positions from all others, by a transformer that looks both ways.

CubiD (Wang et al. 2026, arXiv:2603.19232; models/cubid.py of YuqingWang1029/CubiD): cells of the cube of positions and dimensions are
masked one by one, wherever they lie; all masked ids are predicted at once, and drawn in T passes whose numbers follow a cosine. With as
many passes as ids it is one id a pass, each given all those before it.

Differs: a cell goes in as a row for its id, not as its value, of which that is a special case; the head is one linear map, theirs
has two layers more; positions are rotary in raster order, theirs learned. `reveal: confidence` is MaskGIT's choice (arXiv:2202.04200);
CubiD reveals at random.

What a figure means: the model has no single likelihood. Drawing the N ids of a sequence one at a time in a random order is a proper
distribution, and its mean over orders of -log p is an upper bound on the -log p of drawing that way (autoregressive diffusion,
arXiv:2110.02037, Eq. 5): N times the mean nats of a masked id, where the number m of masked ones is uniform in 1..N.

Letters: B batch, K codebooks, S steps, D width, C = S * K cells of a sequence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ....codecs.config import ConfigError
from ....codecs.tokens import Tokens
from ..packing.base import Packing
from ..packing.parallel import ParallelPacking
from ..sampling import Drawn, SamplerConfig, draw, weights
from .base import Generator, GeneratorConfig
from .heads import PartsHead
from .trunk import SumOfTables, Trunk


@dataclass(frozen=True, kw_only=True)
class MaskedModelConfig(GeneratorConfig):
    """Settings of `masked`.

    Attributes:
        share: the share of cells that training masks, drawn for each sequence: "cosine": that of a random pass of the sampler;
            "normal": 1 at most, and below it a half normal distribution with `share_deviation`, cut at `share_least` (CubiD);
            "uniform": what the reported bound is made of.
        share_deviation, share_least: of "normal".
        valid_masks: masks of each held-out sequence, whose mean is reported.
    """

    kind: ClassVar[str] = "masked"
    sampling: ClassVar[tuple[str, ...]] = ("passes", "reveal")
    share: Literal["cosine", "normal", "uniform"] = "cosine"
    share_deviation: float = 0.1
    share_least: float = 0.5
    valid_masks: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.valid_masks < 1 or self.share_deviation <= 0 or not 0 <= self.share_least < 1:
            allowed = "valid_masks from 1, share_deviation above 0, share_least from 0 and below 1"
            raise ConfigError(f"{self.valid_masks}, {self.share_deviation}, {self.share_least}; allowed: {allowed}.")

    def build(self, packing: Packing) -> "MaskedModel":
        return MaskedModel(self, packing)


class MaskedModel(Generator):
    """One table a codebook with a row for "masked", summed over codebooks, a transformer both ways, a softmax for each cell."""

    meaning = "upper bound: ids of a sequence in a random order, one at a time; the number of positions is given"
    config: MaskedModelConfig

    def __init__(self, config: MaskedModelConfig, packing: Packing) -> None:
        super().__init__(config, packing)
        if not isinstance(packing, ParallelPacking):
            raise ConfigError(f"kind masked takes one position a step: pack as 'parallel', not {packing.config.kind!r}.")
        self.sizes = packing.vocab_sizes
        self.tables = SumOfTables(tuple(v + 1 for v in self.sizes), config.width)
        #: stands for the steps before and after a medium
        self.outside = nn.Parameter(torch.randn(config.width))
        self.trunk = Trunk(config.width, config.layers, config.heads)
        self.head = PartsHead(self.sizes, config.width)

    def states(self, own: Tensor, masked: Tensor, held: Tensor, documents: Tensor, positions: Tensor) -> Tensor:
        """States of all steps.

        Args:
            own: own ids `[B, S, K]`; read where they are neither masked nor outside of media.
            masked: bool `[B, S, K]`.
            held: bool `[B, S]`, steps that hold a position.
            documents, positions: int64 `[B, S]`, as in a batch.

        Returns:
            `[B, S, D]`.
        """
        x = self.outside.expand(*held.shape, -1).clone()
        x[held] = self.tables(torch.where(masked, torch.tensor(self.sizes), own)[held])
        same = documents[:, :, None] == documents[:, None, :]
        return self.trunk(x, mask=same[:, None], positions=positions)

    def masked_nats(self, batch: dict[str, Tensor], shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Nats of masked cells.

        Args:
            batch: of a data set.
            shares: `[B]` above 0 and up to 1; of a sequence's N cells ceil(share * N) are masked.
            generator: of the choice.

        Returns:
            nats `[B, S, K]`, 0 where no cell is masked; masked, bool `[B, S, K]`; held, bool `[B, S]`.
        """
        own, held = self.own(batch["input_ids"])
        place = torch.rand(own.shape, generator=generator).masked_fill(~held[..., None], 2.0).flatten(1)  # [B, C]
        rank = place.argsort(1).argsort(1)
        number = (held.sum(1) * own.shape[2] * shares).ceil()
        masked = (rank < number[:, None]).view_as(own) & held[..., None]
        state = self.states(own, masked, held, batch["document_ids"], batch["position_ids"])
        nats = torch.zeros(own.shape)
        nats[held] = self.head.nats(state[held], own[held])
        return nats * masked, masked, held

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """Mean nats of the masked ids; their share follows `share`."""
        u, c = torch.rand(len(batch["input_ids"]), generator=generator), self.config
        if c.share == "uniform":
            shares = 1 - u
        elif c.share == "cosine":
            shares = torch.cos(u * math.pi / 2)
        else:
            normal = torch.distributions.Normal(0.0, c.share_deviation)
            least = normal.cdf(torch.tensor(c.share_least - 1.0))
            shares = 1 + normal.icdf(least + u * (0.5 - least)).clamp(max=0)
        nats, masked, _ = self.masked_nats(batch, shares.clamp(min=1e-6), generator)
        return nats.sum() / masked.sum().clamp(min=1)

    def losses(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The bound, spread over cells: those that a mask leaves out count 0, those in it N / m times their nats."""
        rows, count = len(batch["input_ids"]), self.config.valid_masks
        total, held = torch.zeros(()), torch.zeros(0)
        for i in range(count):
            shares = (i + 1 - torch.rand(rows, generator=generator)) / count  # one in each part of the range
            nats, masked, held = self.masked_nats(batch, shares, generator)
            weight = held.sum(1) * nats.shape[2] / masked.sum((1, 2)).clamp(min=1)
            total = total + nats * weight[:, None, None] / count
        return total[held].flatten(), batch["input_ids"].mT[held].flatten()

    @torch.no_grad()
    def sample(
        self, positions: int, prompt: Tokens | None = None, *, config: SamplerConfig, seed: int, codes: Sequence[Tensor] = ()
    ) -> Drawn:
        generator, books = torch.Generator().manual_seed(seed), len(self.sizes)
        own, masked = torch.zeros(1, positions + 2, books, dtype=torch.int64), torch.zeros(1, positions + 2, books, dtype=torch.bool)
        masked[:, 1:-1] = True
        if prompt is not None:
            known = min(positions, prompt.ids.shape[2])
            own[0, 1 : known + 1], masked[0, 1 : known + 1] = prompt.ids[0].mT[:known], False
        held = torch.ones(1, positions + 2, dtype=torch.bool)
        held[:, [0, -1]] = False
        number, place, t = int(masked.sum()), torch.rand(masked.shape, generator=generator), 0
        while left := int(masked.sum()):
            t += 1
            keep = min(left - 1, math.floor(number * math.cos(math.pi / 2 * min(1.0, t / (config.passes or number)))))
            state = self.states(own, masked, held, torch.zeros_like(held).long(), torch.arange(positions + 2)[None])
            logits = self.head.logits(state.flatten(0, 1), own.flatten(0, 1)).view(*own.shape, -1)
            p = weights(logits, config)
            found = draw(p, generator)
            if config.reveal == "confidence":
                place = self._unsure(p, found, config.temperature * keep / number, generator)
            order = place.masked_fill(~masked, -torch.inf).flatten().argsort(descending=True)  # those that stay masked come first
            stay = torch.zeros(masked.numel(), dtype=torch.bool)
            stay[order[:keep]] = True
            shown = masked & ~stay.view_as(masked)
            own, masked = torch.where(shown, found, own), masked & ~shown
        return Drawn(self.unpacked(own[0, 1:-1]), t, number)

    @staticmethod
    def _unsure(p: Tensor, found: Tensor, noise: float, generator: torch.Generator) -> Tensor:
        """-log p of drawn ids, with Gumbel noise that fades as ids are revealed (MaskGIT), `[B, S, K]`."""
        gumbel = -torch.empty(found.shape).exponential_(generator=generator).log()
        return -(p.gather(-1, found[..., None])[..., 0].clamp(min=1e-12).log() + noise * gumbel)
