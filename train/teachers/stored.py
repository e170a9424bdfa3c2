"""Features that were computed beforehand and lie beside the media, as targets.

They are those of the whole item: one vector an item goes with any crop, a sequence only with crops of whole items.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class StoredConfig(TeacherConfig):
    """Targets from files.

    Attributes:
        partner: of kind "features", `[D]` or `[D, L]` an item.
        time_first: they are `[L, D]`, as transformers gives hidden states.
    """

    kind: ClassVar[str] = "stored"
    partner_kinds: ClassVar[tuple[str, ...]] = ("features",)
    time_first: bool = False

    def __post_init__(self) -> None:
        if not self.partner:
            raise ConfigError(f"the teacher {self.kind!r} has no partner; name the features under data.partners that it gives.")

    def build(self, spec: TokenizerSpec) -> Teacher:
        return Stored(self)


class Stored(Teacher):
    """Gives the features that it gets; settings: `StoredConfig`."""

    def __init__(self, config: StoredConfig) -> None:
        super().__init__()
        self.config = config

    def targets(self, x: Tensor) -> Tensor:
        """`[B, D]` -> `[B, D, 1]`; `[B, D, L]` as it is, or from `[B, L, D]`."""
        if x.ndim not in (2, 3):
            raise ConfigError(f"the partner {self.config.partner!r} has items of shape {list(x.shape[1:])}; allowed: [D], or [D, L].")
        if x.ndim == 2:
            return x[..., None]
        return x.transpose(1, 2) if self.config.time_first else x
