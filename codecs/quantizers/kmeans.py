"""Cluster centres fitted to features once, and their ids: discrete speech units, baselines without training.

HuBERT units (Hsu et al. 2021, arXiv 2106.07447). A codebook for each clip (VQToken): `codecs/image/vqtoken`.
Letters: B batch, D latent width, L positions, V number of centres, N rows.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config import ConfigError
from .base import Quantizer, QuantizerConfig, straight_through
from .parts.clustering import kmeans
from .parts.nearest import nearest_code, unit
from .parts.rows import RowQuantizer, RowTerms, feature_rows


@dataclass(frozen=True, kw_only=True)
class KMeansConfig(QuantizerConfig):
    """Settings of `KMeans`.

    Attributes:
        codebook_size: V.
        normalize: cluster by cosine similarity: features and centres are scaled to length 1.
        iterations: number of Lloyd steps of `fit`.
        seed: seed of the choice of rows that `fit` starts from.
    """

    kind: ClassVar[str] = "kmeans"

    codebook_size: int = 500
    normalize: bool = False
    iterations: int = 50
    seed: int = 0

    #: the loss is 0: nothing here is trained
    commitment_weight: ClassVar[float] = 0.0
    codebook_weight: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if self.codebook_size < 1 or self.iterations < 1:
            raise ConfigError(f"codebook_size is {self.codebook_size}, iterations {self.iterations}; both must be at least 1.")

    def quantizer_class(self) -> type[Quantizer]:
        return KMeans


class KMeans(RowQuantizer):
    """ids = nearest centre. Call `fit` once, or load a state dict; encoding before that raises ValueError."""

    config: KMeansConfig
    centres: Tensor
    fitted: Tensor

    def __init__(self, config: KMeansConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        self.register_buffer("centres", torch.zeros(config.codebook_size, config.dim))
        self.register_buffer("fitted", torch.tensor(False))
        self._is_fitted = False  # mirror of `fitted`

    @torch.no_grad()
    def fit(self, features: Tensor) -> float:
        """Fit the centres by k-means to features `[N, D]` or `[B, D, L]` of all ranks, which must call it together.

        Returns:
            Squared distance to the nearest centre, mean over this rank's features and their channels.

        Raises:
            ValueError: another width, or fewer features than centres.
        """
        rows = feature_rows(features, self.dim)
        if len(rows) < self.config.codebook_size:
            raise ValueError(f"{len(rows)} features cannot fill {self.config.codebook_size} centres; give more or set V lower.")
        rows = self._space(rows)
        centres, _ = kmeans(
            [rows], self.config.codebook_size, iterations=self.config.iterations, space=self._space,
            seed=self.config.seed
        )
        self.centres.copy_(self._space(centres))
        self.fitted.fill_(True)
        return float((rows - self.centres[nearest_code(rows, self.centres)]).square().mean())

    @torch.no_grad()
    def use(self, centres: Tensor) -> None:
        """Take centres `[V, D]` that were fitted elsewhere.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        if tuple(centres.shape) != tuple(self.centres.shape):
            raise ValueError(f"centres must be [V={len(self.centres)}, D={self.dim}]; got {list(centres.shape)}.")
        if not bool(torch.isfinite(centres).all()):
            raise ValueError("centres must be finite numbers; these hold NaN or infinities.")
        self.centres.copy_(self._space(centres.float()))
        self.fitted.fill_(True)

    @torch.no_grad()
    def assign(self, rows: Tensor, *, keep: Tensor | None = None, update: bool = False, start: bool = True) -> Tensor:
        self._is_fitted = self._is_fitted or bool(self.fitted)
        if not self._is_fitted:
            raise ValueError("this k-means quantizer has no centres yet; call fit(features) or load a state.")
        return nearest_code(self._space(rows), self.centres.float())

    def decode_rows(self, ids: Tensor) -> Tensor:
        return self.centres.float()[ids]

    def row_terms(self, z: Tensor, ids: Tensor, *, through: Tensor | None = None) -> RowTerms:
        q = self.decode_rows(ids)
        distance = (self._space(z) - q).square().mean(1)
        return RowTerms(straight_through(z if through is None else through, q), distance, torch.zeros_like(distance))

    def _space(self, x: Tensor) -> Tensor:
        return unit(x) if self.config.normalize else x
