"""The kind of an item as a number: its place among names, from a text beside it; for tokenizers that take it (UniCodec's domains)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...codecs.config import ConfigError, nearest
from ...codecs.spec import TokenizerSpec
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class LabelConfig(TeacherConfig):
    """Numbers of items, for `model.features`.

    Attributes:
        partner: the text under `data.partners`, one of `names`.
        names: in the order of their numbers.
    """

    kind: ClassVar[str] = "label"
    partner_kinds: ClassVar[tuple[str, ...]] = ("text",)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.partner or len(set(self.names)) != len(self.names) or not self.names or any(n.split() != [n] for n in self.names):
            raise ConfigError(
                f"the teacher {self.kind!r} has partner {self.partner!r} and names {list(self.names)}; it needs a text under "
                "data.partners, and different names without spaces."
            )

    def build(self, spec: TokenizerSpec) -> Teacher:
        return Label(self)


class Label(Teacher):
    """Numbers of texts; settings: `LabelConfig`."""

    here: Tensor

    def __init__(self, config: LabelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("here", torch.zeros(()), persistent=False)  # knows the device

    def targets(self, x: list[str]) -> Tensor:
        """B texts -> int64 `[B]`; -1 for a crop of several items of different kinds.

        Raises:
            ConfigError: a text that is none of the names.
        """
        kinds = [set(text.split()) for text in x]
        if unknown := sorted(set().union(*kinds) - set(self.config.names)):
            raise ConfigError(f"the partner {self.config.partner!r} says {unknown[0]!r}.{nearest(unknown[0], list(self.config.names))}")
        numbers = [self.config.names.index(kind.pop()) if len(kind) == 1 else -1 for kind in kinds]
        return torch.tensor(numbers, device=self.here.device)
