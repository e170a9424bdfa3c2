"""Frozen networks whose features a tokenizer learns to carry (semantic distillation).

A teacher turns a batch of media into target features. The tokenizer offers its own under a name in
`Reconstruction.features`; the loss `distillation` compares the two.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..codecs.config import ConfigError, Polymorphic, nearest
from ..codecs.spec import TokenizerSpec


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Polymorphic):
    """Settings of one teacher. `build` gives the frozen module."""

    @classmethod
    def resolve(cls, kind: str) -> type["TeacherConfig"]:
        if kind not in TEACHERS:
            raise ConfigError(f"unknown teacher kind {kind!r}.{nearest(kind, list(TEACHERS))}")
        return TEACHERS[kind]

    def build(self, spec: TokenizerSpec) -> "Teacher":
        """Return the teacher for media as `spec` describes them."""
        raise NotImplementedError


class Teacher(nn.Module):
    """Base class: never trained, always in eval mode, never part of a checkpoint."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return target features `[B, D, L]` of media `[B, C, T]` or `[B, C, H, W]`."""
        return self.targets(x)

    def targets(self, x: Tensor) -> Tensor:
        """What a subclass writes."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode."""
        return super().train(False)


@dataclass(frozen=True, kw_only=True)
class EnvelopeConfig(TeacherConfig):
    """A teacher without weights: log energy of the media in equal steps. For tests and as the shortest example."""

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


TEACHERS: dict[str, type[TeacherConfig]] = {"envelope": EnvelopeConfig}
