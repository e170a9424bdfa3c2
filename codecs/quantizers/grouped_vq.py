"""Grouped residual vector quantization: the channels are cut into groups, and each group has its own residual tables.

HiFi-Codec (Yang et al. 2023, arXiv 2305.02765): 2 groups of 2 levels.
Letters: B batch, D latent width, L positions, G groups, K = levels * G codebooks, V codebook size.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..config import ConfigError
from ..members import members
from .base import Quantized, Quantizer
from .parts.codebook import TableConfig, apply_updates
from .residual_vq import ResidualVQ, ResidualVQConfig


@dataclass(frozen=True, kw_only=True)
class GroupedVQConfig(TableConfig):
    """Settings of `GroupedVQ`.

    Attributes:
        groups: G, number of equal parts that D is cut into, in order.
        levels: residual levels of each group, one table each; 1: no residual quantization.
        codebook_size: V of every table.
    """

    kind: ClassVar[str] = "grouped_vq"

    groups: int = 2
    levels: int = 2
    codebook_size: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.groups, self.levels, self.codebook_size) < 1:
            raise ConfigError(f"groups {self.groups}, levels {self.levels}, codebook_size {self.codebook_size}: below 1.")
        if self.dim % self.groups:
            raise ConfigError(f"dim is {self.dim}, not a multiple of groups = {self.groups}.")

    def quantizer_class(self) -> type[Quantizer]:
        return GroupedVQ


class GroupedVQ(Quantizer):
    """ids `[B, levels * G, L]`: all groups of the first level, then of the second; the loss is the groups' mean."""

    config: GroupedVQConfig

    def __init__(self, config: GroupedVQConfig) -> None:
        super().__init__(config, (config.codebook_size,) * (config.levels * config.groups))
        table = {f.name: getattr(config, f.name) for f in dataclasses.fields(TableConfig)}
        table |= {"dim": config.dim // config.groups, "num_codebooks": config.levels}
        stack = ResidualVQConfig(**table, codebook_size=config.codebook_size)
        self.stacks = nn.ModuleList(ResidualVQ(stack) for _ in range(config.groups))

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        pairs = list(zip(self._stacks(), self._split(z), strict=True))
        parts = [stack.quantize_stack(part, mask) for stack, part in pairs]
        if self.training and not self.frozen:
            apply_updates([book for stack, _ in pairs for book in stack.codebooks()])
        loss = torch.stack([p.loss for p in parts]).mean()
        metrics = {k: torch.stack([p.metrics[k] for p in parts]).mean() for k in parts[0].metrics}
        return Quantized(torch.cat([p.z_q for p in parts], dim=1), self._join([p.ids for p in parts]), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        pairs = zip(self._stacks(), self._split(z), strict=True)
        return self._join([stack._encode(part, grid, stack.num_codebooks) for stack, part in pairs])

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        by_group = ids.unflatten(1, (self.config.levels, self.config.groups)).unbind(2)  # G x [B, levels, L]
        return torch.cat([s._decode(part, grid) for s, part in zip(self._stacks(), by_group, strict=True)], dim=1)

    def _stacks(self) -> list[ResidualVQ]:
        return members(self.stacks, ResidualVQ)

    def _split(self, z: Tensor) -> tuple[Tensor, ...]:
        return z.chunk(self.config.groups, dim=1)

    def _join(self, ids: list[Tensor]) -> Tensor:
        return torch.stack(ids, dim=2).flatten(1, 2)  # [B, levels, G, L] to [B, levels * G, L]
