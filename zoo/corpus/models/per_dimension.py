"""`per_dimension`: the dimensions of a position one after another, by a small head on top of the transformer.

TokenBridge (Wang et al. 2025, arXiv:2503.16430; models/tokenbridge.py of YuqingWang1029/TokenBridge): 16 dimensions of 64 levels at
each position, predicted in an order by frequency, each given those before it. On the codebooks of a residual stack the same model is
RQ-Transformer (arXiv:2203.01941). Packed flat by `per_dimension` (kind llama) the distribution has the same factors, but the large
transformer takes K times the steps.

Differs: there, positions come in random order from a masked encoder; here in raster order from a causal one, so that a likelihood can
be stated. There, a position goes in as a linear map of its values; here as the sum of a row for each id, of which a linear map is a
special case. The head there has its condition in the layers' norms too.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ....codecs.config import ConfigError
from ..dataset import TokenDataset
from ..packing.base import Packing
from ..sampling import SamplerConfig
from .base import GeneratorConfig
from .heads import PartsHead
from .order import frequency_order
from .streams import StreamGenerator
from .trunk import SumOfTables


@dataclass(frozen=True, kw_only=True)
class PerDimensionModelConfig(GeneratorConfig):
    """Settings of `per_dimension`.

    Attributes:
        order: the dimensions 0..K-1, the first one predicted first; "frequency": found in the training data, those that change most
            slowly over positions first (`order.py`); "given": as they are.
        head_layers: of the head; 0: all dimensions at once, independent of each other given the positions before.
        head_width, head_heads: of the head.
    """

    kind: ClassVar[str] = "per_dimension"
    order: Literal["given", "frequency"] | tuple[int, ...] = "given"
    head_layers: int = 2
    head_width: int = 64
    head_heads: int = 4

    def fitted(self, data: TokenDataset) -> "PerDimensionModelConfig":
        return replace(self, order=frequency_order(data)) if self.order == "frequency" else self

    def build(self, packing: Packing) -> "PerDimensionModel":
        return PerDimensionModel(self, packing)


class PerDimensionModel(StreamGenerator):
    """One table a dimension at the input, and at the output a head over the dimensions in their order."""

    def __init__(self, config: PerDimensionModelConfig, packing: Packing) -> None:
        super().__init__(config, packing)
        sizes, order = packing.vocab_sizes, config.order
        if order == "frequency":
            raise ConfigError("order 'frequency' needs the training data: call fitted(data) before build.")
        self.order = list(range(len(sizes))) if order == "given" else list(order)
        if sorted(self.order) != list(range(len(sizes))):
            raise ConfigError(f"order is {order}; it must hold each of 0..{len(sizes) - 1} once.")
        self.back = [self.order.index(k) for k in range(len(sizes))]
        self.tables = SumOfTables(sizes, config.width)
        inner = {"layers": config.head_layers, "inner": config.head_width, "heads": config.head_heads}
        self.head = PartsHead(tuple(sizes[k] for k in self.order), config.width, **inner)

    def embed(self, own: Tensor) -> Tensor:
        return self.tables(own)

    def nats(self, state: Tensor, own: Tensor) -> Tensor:
        return self.head.nats(state, own[:, self.order])[:, self.back]

    def draw(self, state: Tensor, config: SamplerConfig, generator: torch.Generator) -> Tensor:
        return self.head.draw(state, config, generator)[:, self.back]
