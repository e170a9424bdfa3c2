"""`llama`: one id a step, over any packing of that form; the model of transformers with tied embeddings.

The folder that it is saved to also loads with `transformers.AutoModelForCausalLM.from_pretrained`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ....codecs.config import ConfigError
from ....codecs.tokens import Tokens
from ..attention import same_document
from ..packing.base import Packing
from ..packing.results import IGNORE
from ..plain import Choice
from ..sampling import Drawn, SamplerConfig, sample
from .base import Generator, GeneratorConfig


@dataclass(frozen=True, kw_only=True)
class LlamaModelConfig(GeneratorConfig):
    """`packing`: a pattern of one id a step and its settings, `{kind: per_dimension, order: [2, 0, 1]}`; empty: the plain one."""

    kind: ClassVar[str] = "llama"
    sampling: ClassVar[tuple[str, ...]] = ("draft", "group_ranks", "group_probability", "group_distance")
    packing: dict[str, Any] = field(default_factory=dict)

    def choice(self) -> Choice:
        return self.packing or None

    def build(self, packing: Packing) -> "LlamaModel":
        return LlamaModel(self, packing)


class LlamaModel(Generator):
    """A transformer with a row of its table for each id of the vocabulary, special tokens included."""

    config: LlamaModelConfig

    def __init__(self, config: LlamaModelConfig, packing: Packing) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        super().__init__(config, packing)
        if packing.streamed:
            raise ConfigError(f"kind llama takes one id a step; {packing.config.kind!r} packing has one for each codebook.")
        shape: dict[str, Any] = {
            "vocab_size": packing.vocabulary.size,
            "hidden_size": config.width,
            "intermediate_size": 3 * config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
        }
        self.net = LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=2**16, tie_word_embeddings=True))

    def losses(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        logits = self.net(
            input_ids=batch["input_ids"],
            attention_mask=same_document(batch["document_ids"]),
            position_ids=batch["position_ids"],
            use_cache=False,
        ).logits  # [B, S, V]
        targets = batch["labels"][:, 1:]
        kept = targets != IGNORE
        return F.cross_entropy(logits[:, :-1][kept].float(), targets[kept], reduction="none"), targets[kept]

    def sample(
        self, positions: int, prompt: Tokens | None = None, *, config: SamplerConfig, seed: int, codes: Sequence[Tensor] = ()
    ) -> Drawn:
        return sample(self.net, self.packing, positions, prompt, config=config, seed=seed, codes=codes)

    def write_weights(self, folder: Path) -> None:
        self.net.save_pretrained(folder)

    def read_weights(self, folder: Path) -> None:
        self.net = type(self.net).from_pretrained(folder)
