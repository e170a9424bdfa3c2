"""`Generator`: what every kind of language model over tokens is, and the folder that it is saved to.

Letters: B batch, K codebooks, S steps of a sequence, n labelled ids of a batch.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ....codecs.config import ConfigError, Polymorphic, from_mapping, parse_json, to_mapping
from ....codecs.files import write_bytes, write_text
from ....codecs.tokens import Tokens
from ....codecs.weights import load_strict
from ..dataset import TokenDataset
from ..packing.base import Packing, load_packing
from ..plain import Choice
from ..sampling import Drawn, SamplerConfig
from .kinds import MODELS

_FORMAT, _VERSION = "tokenzoo-generator", 1
_CONFIG, _PACKING, _WEIGHTS = "generator.json", "packing.json", "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(Polymorphic):
    """Settings common to all kinds: those of the transformer.

    Attributes:
        width, layers, heads: of the transformer; heads divide the width.
    """

    kinds = MODELS
    #: settings of the sampler that this kind follows, beside `temperature` and `top_k`
    sampling: ClassVar[tuple[str, ...]] = ()

    width: int = 192
    layers: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads) < 1 or self.width % (2 * self.heads):
            rule = "all must be above 0, and width a multiple of twice the heads"
            raise ConfigError(f"width is {self.width}, layers {self.layers}, heads {self.heads}; {rule}.")

    def choice(self) -> Choice:
        """The packing that a data set is opened with for this kind."""
        return "parallel"

    def fitted(self, data: TokenDataset) -> Self:
        """The same settings, with those that the training data decide filled in."""
        return self

    def build(self, packing: Packing) -> "Generator":
        """An untrained model of the ids of `packing`. Raises ConfigError where it does not fit."""
        raise NotImplementedError

    def check(self, sampler: SamplerConfig) -> None:
        """Raise ConfigError where the sampler has settings that this kind does not follow."""
        known, plain = ("temperature", "top_k", *self.sampling), SamplerConfig()
        for name, value in to_mapping(sampler).items():
            if name not in known and value != getattr(plain, name):
                raise ConfigError(f"sampler.{name} is {value}, but a model of kind {self.kind} follows only {', '.join(known)}.")


class Generator(nn.Module):
    """Base of all kinds.

    Args:
        config: its settings.
        packing: of the sequences; its vocabulary says what the ids are.
    """

    #: what `bits` of a report mean for this kind
    meaning: ClassVar[str] = "exact: each id given all before it"

    def __init__(self, config: Any, packing: Packing) -> None:
        super().__init__()
        self.config, self.packing = config, packing

    # --- for kinds to write -----------------------------------------------------------------------------------------

    def losses(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Nats of every id that a batch labels, no document helped by another.

        Args:
            batch: of a `TokenDataset`.
            generator: of random numbers, for kinds that draw any.

        Returns:
            (nats float32, ids of the vocabulary int64), `[n]` each. Only their sum over all ids of a sequence has a meaning; that
            it ends there or goes on is part of it for kinds that choose the length.
        """
        raise NotImplementedError

    def sample(
        self, positions: int, prompt: Tokens | None = None, *, config: SamplerConfig, seed: int, codes: Sequence[Tensor] = ()
    ) -> Drawn:
        """Draw tokens.

        Args:
            positions: of prompt and continuation together: at most, or exactly for kinds that do not choose the length.
            prompt: a batch of one to continue; its codebooks are those of the packing.
            config: how ids are drawn.
            seed: of the draws.
            codes: see `sampling.sample`.
        """
        raise NotImplementedError

    # --- common -----------------------------------------------------------------------------------------------------

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """What training minimizes, in nats an id."""
        return self.losses(batch, generator)[0].mean()

    def without_context(self, ids: Sequence[Tensor]) -> dict[str, Any]:
        """Further figures of a model that sees no other position, for the report.

        Args:
            ids: the tokenizer's own held-out ids `[n]` of each codebook.
        """
        return {}

    def own(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Media of sequences of K ids a step.

        Args:
            ids: of the vocabulary, or labels, `[B, K, S]`.

        Returns:
            (own, held): the tokenizer's own ids `[B, S, K]`, -1 where there are none, and bool `[B, S]`, True at steps that hold a
            position of a medium.
        """
        own, book = self.packing.vocabulary.from_ids(self.packing.config.tokenizer, ids)
        return own.mT, (book >= 0).all(dim=1)

    def unpacked(self, own: Tensor) -> Tokens:
        """Tokens of own ids `[n, K]` of one medium."""
        offsets = torch.tensor(self.packing.vocabulary.offsets(self.packing.config.tokenizer))
        begin = torch.full((len(offsets), 1), self.packing.begin_id)
        return self.packing.unpack(torch.cat([begin, (own + offsets).mT], dim=1)).tokens

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write settings, packing and weights into `folder` (made if missing); `load_generator` reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        document = {"format": _FORMAT, "version": _VERSION, "model": to_mapping(self.config)}
        write_text(folder / _CONFIG, json.dumps(document, indent=2) + "\n")
        self.packing.save(folder / _PACKING)
        self.write_weights(folder)

    def write_weights(self, folder: Path) -> None:
        """Write `model.safetensors`."""
        from safetensors.torch import save

        write_bytes(folder / _WEIGHTS, save({k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}))

    def read_weights(self, folder: Path) -> None:
        """Inverse of `write_weights`. Raises CheckpointError where they do not fit."""
        from safetensors.torch import load_file

        load_strict(self, load_file(folder / _WEIGHTS), str(folder / _WEIGHTS))


def load_generator(folder: str | os.PathLike[str]) -> Any:
    """The model that `Generator.save` wrote, ready to sample from.

    Raises:
        ConfigError: no such folder, or one of another version. CheckpointError: weights that do not fit.
    """
    path = Path(folder) / _CONFIG
    if not path.is_file():
        raise ConfigError(f"{folder} holds no {_CONFIG}; give the folder `model` of a finished run of `tokenzoo lm`.")
    document = parse_json(path.read_bytes())
    if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (_FORMAT, _VERSION):
        raise ConfigError(f"{path} is no settings of a model that this version of tokenzoo reads.")
    model = from_mapping(GeneratorConfig, document.get("model", {}), "model").build(load_packing(Path(folder) / _PACKING))
    model.read_weights(Path(folder))
    return model.eval()
