"""Several parallel quantizers of one kind, each over its own part of the channels (product quantization).

ImageFolder and XQ-GAN (arXiv 2410.01756, 2412.01762): two branches, e.g. one semantic and one for detail.
Not registered as a kind: a family that has branches builds it from the config of one branch.

Letters: B batch, D width of one branch, P branches, K codebooks of one branch, L positions.
"""

import dataclasses

import torch
from torch import Tensor, nn

from ..config import ConfigError
from ..members import members
from .base import Fittable, Quantized, Quantizer, QuantizerConfig


class Branches(Quantizer):
    """Latents `[B, P D, L]`, ids `[B, P K, L]`, branch by branch; the loss is the branches' mean.

    Args:
        config: settings of one branch, with its `dim` filled in.
        count: P, number of branches.
    """

    def __init__(self, config: QuantizerConfig, count: int) -> None:
        if count < 1 or config.dim < 1:
            raise ConfigError(f"{count} branches of width {config.dim}: both must be positive.")
        branches = [config.build() for _ in range(count)]
        sizes = tuple(v for b in branches for v in b.codebook_sizes)
        super().__init__(dataclasses.replace(config, dim=count * config.dim), sizes)
        self.branches = nn.ModuleList(branches)
        self.needs_grid = branches[0].needs_grid
        self.scale_grids = branches[0].scale_grids

    def freeze(self, frozen: bool = True) -> "Quantizer":
        """As `Quantizer.freeze`, for all branches."""
        for branch in members(self.branches, Quantizer):
            branch.freeze(frozen)
        return super().freeze(frozen)

    def fit(self, features: Tensor) -> float:
        """Fit every branch to its part of features `[N, P D]` or `[B, P D, L]`; returns the mean of what their own `fit` returns.

        Raises:
            ValueError: a kind that is not fitted, another width, or too few features.
        """
        if not isinstance(self.branches[0], Fittable):
            raise ValueError(f"a quantizer of kind {self.config.kind!r} is trained, not fitted.")
        if features.ndim not in (2, 3) or features.shape[1] != self.dim:
            raise ValueError(f"fit takes features [N, {self.dim}] or [B, {self.dim}, L]; got {list(features.shape)}.")
        errors = [b.fit(part) for b, part in self._pairs(features) if isinstance(b, Fittable)]
        return sum(errors) / len(self.branches)

    def code_vectors(self, codebook: int) -> Tensor:
        branch, k = divmod(codebook, self.num_codebooks // len(self.branches))
        return members(self.branches, Quantizer)[branch].code_vectors(k)

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        parts = [b._quantize(part, grid, mask) for b, part in self._pairs(z)]
        metrics = {k: torch.stack([p.metrics[k] for p in parts]).mean() for k in parts[0].metrics}
        loss = torch.stack([p.loss for p in parts]).mean()
        return Quantized(torch.cat([p.z_q for p in parts], dim=1), torch.cat([p.ids for p in parts], dim=1), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return torch.cat([b._encode(part, grid, b.num_codebooks) for b, part in self._pairs(z)], dim=1)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return torch.cat([b._decode(part, grid) for b, part in self._pairs(ids)], dim=1)

    def _pairs(self, x: Tensor) -> list[tuple[Quantizer, Tensor]]:
        """Each branch with its equal share of axis 1."""
        return list(zip(members(self.branches, Quantizer), x.chunk(len(self.branches), dim=1), strict=True))
