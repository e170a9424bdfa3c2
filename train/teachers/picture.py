"""A picture beside the media, unchanged: the second input of tokenizers whose `forward` takes one (ITER: the clean one)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class PictureConfig(TeacherConfig):
    """A partner of kind "image" as target.

    Attributes:
        partner: its name under `data.partners`.
    """

    kind: ClassVar[str] = "picture"

    def __post_init__(self) -> None:
        if not self.partner:
            raise ConfigError(f"the teacher {self.kind!r} has no partner; name the picture under data.partners that it gives.")

    def build(self, spec: TokenizerSpec) -> Teacher:
        return Picture()


class Picture(Teacher):
    """Gives the pictures that it gets; settings: `PictureConfig`."""

    def targets(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` as they are."""
        return x
