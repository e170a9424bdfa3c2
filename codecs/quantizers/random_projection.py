"""The nearest of random codes after a random projection, neither of them trained: targets for masked prediction.

BEST-RQ (Chiu et al. 2022, arXiv 2202.01855); several heads as in USM (arXiv 2303.01037).
Letters: B batch, D latent width, L positions, H heads, V codebook size, d width of the codes.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through, zero_loss
from .parts.nearest import nearest_code, unit
from .parts.rows import from_rows, steady_linear, to_rows


@dataclass(frozen=True, kw_only=True)
class RandomProjectionConfig(QuantizerConfig):
    """Settings of `RandomProjection`.

    Attributes:
        num_codebooks: H, each with separate random numbers (BEST-RQ: 1, USM: 16).
        codebook_size: V.
        codebook_dim: d.
        seed: seed of the random numbers, which are saved with the weights.
    """

    kind: ClassVar[str] = "random_projection"

    num_codebooks: int = 1
    codebook_size: int = 8192
    codebook_dim: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_codebooks", "codebook_size", "codebook_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")

    def quantizer_class(self) -> type[Quantizer]:
        return RandomProjection


class RandomProjection(Quantizer):
    """ids `[B, H, L]`; ids of head h are `argmax cos(A_h z, c_h)`, with Xavier-uniform `A_h [d, D]` and normal codes `c_h [V, d]`.

    The ids tell directions apart, and lengths not at all: normalise the features before (BEST-RQ: mean 0 and deviation 1 in every
    channel). `decode` returns the vector of least length whose projections are the codes, all of length 1.
    """

    config: RandomProjectionConfig
    projection: Tensor
    codes: Tensor

    def __init__(self, config: RandomProjectionConfig) -> None:
        super().__init__(config, (config.codebook_size,) * config.num_codebooks)
        g, heads, width = torch.Generator().manual_seed(config.seed), config.num_codebooks, config.codebook_dim
        bound = (6 / (config.dim + width)) ** 0.5
        self.register_buffer("projection", (2 * torch.rand(heads, width, config.dim, generator=g) - 1) * bound)
        self.register_buffer("codes", unit(torch.randn(heads, config.codebook_size, width, generator=g)))

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        ids = self._encode(z.detach(), grid, self.num_codebooks)
        return Quantized(straight_through(z, self._decode(ids, grid)), ids, zero_loss(z))

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        projected = steady_linear(to_rows(z), self.projection.flatten(0, 1), None).unflatten(1, self.projection.shape[:2])
        ids = [nearest_code(unit(projected[:, h]), codes.float()) for h, codes in enumerate(self.codes)]
        return torch.stack([x.view(len(z), z.shape[2]) for x in ids], dim=1)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        codes = torch.cat([table.float()[at] for table, at in zip(self.codes, ids.transpose(0, 1), strict=True)], dim=2)  # [B, L, H d]
        back = torch.linalg.pinv(self.projection.double().flatten(0, 1))  # [D, H d]
        return from_rows(steady_linear(codes.flatten(0, 1), back, None), ids)
