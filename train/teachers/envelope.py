"""A teacher without weights: log energy of the media in equal steps. For tests and as the shortest example."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class EnvelopeConfig(TeacherConfig):
    """Settings of `Envelope`; `step` is the length of its windows in values (samples, or pixels of a row)."""

    kind: ClassVar[str] = "envelope"
    step: int = 320

    def build(self, spec: TokenizerSpec) -> Teacher:
        return Envelope(self)


class Envelope(Teacher):
    """Log of the mean square in windows of `step` values along the last axis."""

    def __init__(self, config: EnvelopeConfig) -> None:
        super().__init__()
        self.config = config

    def targets(self, x: Tensor) -> Tensor:
        """`[B, C, ..., T]` -> `[B, 1, T // step]`."""
        flat = x.flatten(2)  # [B, C, T]
        length = flat.shape[2] // self.config.step
        blocks = flat[:, :, : length * self.config.step].unflatten(2, (length, self.config.step))  # [B, C, L, step]
        return blocks.square().mean(dim=(1, 3), keepdim=False).clamp(min=1e-8).log()[:, None]  # [B, 1, L]
