"""`bits`: binary codes in, groups of bits out; no table of ids, so that 2^64 or 2^128 ids a position cost no more than their bits.

ELM (arXiv:2410.16257; llama/ar_model.py of Pepper-lll/LMforImageGeneration): a code of b bits in sub-codes with a softmax each, two
heads of 2^(b/2) values: `group_bits` half of b. Instella-T2I (models/ar_model.py, scripts/train_ar.py of AMD-AGI/Instella-T2I): 64 bits
a position go in by a linear map and come out as 64 independent ones: `group_bits: 1`. UniWeTok has 128 bits. "Language Models Without
a Trainable Input Embedding Table" (arXiv:2605.09751): the code itself, repeated up to the width of the model: `inputs: tiled`.

Differs: ELM looks its sub-codes up in tables, joined by a linear map; here a linear map of the bits. `head_layers` predicts the
groups one after another, which none of these do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ....codecs.config import ConfigError
from ..check import entropy
from ..packing.base import Packing
from ..packing.bits import split_widths
from ..sampling import SamplerConfig
from .base import GeneratorConfig
from .heads import PartsHead
from .streams import StreamGenerator


@dataclass(frozen=True, kw_only=True)
class BitsModelConfig(GeneratorConfig):
    """Settings of `bits`; all codebooks must have a power of two of ids.

    Attributes:
        group_bits: most bits of a group, each of which is one softmax; 1: all bits by themselves.
        inputs: "linear": a trained linear map of the bits; "tiled": the bits repeated up to the width, without parameters.
        head_layers: groups one after another, each given those before it, by a small transformer; 0: all at once, independent of each
            other given the positions before.
        head_width, head_heads: of that transformer.
    """

    kind: ClassVar[str] = "bits"
    group_bits: int = 8
    inputs: Literal["linear", "tiled"] = "linear"
    head_layers: int = 0
    head_width: int = 64
    head_heads: int = 4

    def build(self, packing: Packing) -> "BitsModel":
        return BitsModel(self, packing)


class BitsModel(StreamGenerator):
    """Bits of a position as -1 and 1 at the input, most significant first; at the output a softmax over each group."""

    #: bits below each bit or group in its codebook; the codebook of each; values of each group minus one
    shifts: Tensor
    books: Tensor
    low: Tensor
    owner: Tensor
    most: Tensor

    def __init__(self, config: BitsModelConfig, packing: Packing) -> None:
        super().__init__(config, packing)
        sizes = packing.vocab_sizes
        single = [(k, i) for k, v in enumerate(sizes) for i in reversed(range(sum(split_widths(v, 1))))]
        groups = []
        for k, v in enumerate(sizes):
            widths = split_widths(v, config.group_bits)
            groups += [(k, sum(widths[i + 1 :]), w) for i, w in enumerate(widths)]
        tables = {"books": [k for k, _ in single], "shifts": [i for _, i in single], "owner": [k for k, _, _ in groups]}
        tables |= {"low": [s for _, s, _ in groups], "most": [(1 << w) - 1 for _, _, w in groups]}
        for name, values in tables.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)
        if config.inputs == "tiled" and len(single) > config.width:
            raise ConfigError(f"inputs 'tiled' repeats {len(single)} bits up to the width, which is {config.width}; make it wider.")
        self.enter = nn.Linear(len(single), config.width) if config.inputs == "linear" else None
        inner = {"layers": config.head_layers, "inner": config.head_width, "heads": config.head_heads}
        self.head = PartsHead(tuple(1 << w for _, _, w in groups), config.width, **inner)

    def bits(self, own: Tensor) -> Tensor:
        """Bits 0 and 1, int64 `[n, b]`, of own ids `[n, K]`."""
        return (own[:, self.books] >> self.shifts) & 1

    def embed(self, own: Tensor) -> Tensor:
        signs = 2.0 * self.bits(own) - 1
        if self.enter is not None:
            return self.enter(signs)
        return signs.repeat(1, -(-self.config.width // signs.shape[1]))[:, : self.config.width]

    def nats(self, state: Tensor, own: Tensor) -> Tensor:
        each = self.head.nats(state, (own[:, self.owner] >> self.low) & self.most)
        return each.new_zeros(own.shape).index_add(1, self.owner, each)

    def draw(self, state: Tensor, config: SamplerConfig, generator: torch.Generator) -> Tensor:
        values = self.head.draw(state, config, generator) << self.low
        return values.new_zeros(len(values), len(self.packing.vocab_sizes)).index_add(1, self.owner, values)

    def without_context(self, ids: Sequence[Tensor]) -> dict[str, Any]:
        """`bitwise_bits`: entropy of an id as the sum of those of its bits. With more ids than are measured it means more than
        the entropy of whole ids, which cannot exceed the logarithm of their number."""
        total = 0.0
        for k, own in enumerate(ids):
            held = (own[:, None] >> self.shifts[self.books == k]) & 1  # [n, b]
            total += len(own) * sum(entropy(torch.bincount(b, minlength=2).numpy()) for b in held.mT)
        return {"bitwise_bits": total / sum(map(len, ids))}
