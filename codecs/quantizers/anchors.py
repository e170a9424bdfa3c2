"""The nearest anchors of a vector, in order: a few landmarks chosen from the data describe everything else.

Anchor tokens of graphs (NodePiece, Galkin et al. 2021, arXiv 2106.12144; the anchor-relation kind of surveys of discrete tokens).
Differs: the graph is that of Euclidean distance between vectors, without relation ids, and a vector is decoded by the weighted sum of
its anchors instead of a trained encoder.

Letters: B batch, D latent width, L positions, K anchors of a vector, V number of anchors, N rows.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through, zero_loss
from .parts.clustering import all_reduce_together, pick_rows
from .parts.nearest import nearest_codes
from .parts.rows import feature_rows, from_rows, to_rows


@dataclass(frozen=True, kw_only=True)
class AnchorsConfig(QuantizerConfig):
    """Settings of `Anchors`.

    Attributes:
        num_codebooks: K, number of anchors that describe a vector.
        codebook_size: V, number of anchors.
        seed: seed of the draw that anchors are chosen from.
    """

    kind: ClassVar[str] = "anchors"

    num_codebooks: int = 4
    codebook_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.num_codebooks <= self.codebook_size:
            raise ConfigError(f"num_codebooks is {self.num_codebooks}; allowed: 1 to codebook_size = {self.codebook_size}.")

    def quantizer_class(self) -> type[Quantizer]:
        return Anchors


class Anchors(Quantizer):
    """ids `[B, K, L]`: the K nearest anchors, nearest first. Call `fit` once, or load a state; encoding before raises ValueError."""

    config: AnchorsConfig
    anchors: Tensor
    weights: Tensor
    fitted: Tensor

    def __init__(self, config: AnchorsConfig) -> None:
        super().__init__(config, (config.codebook_size,) * config.num_codebooks)
        self.register_buffer("anchors", torch.zeros(config.codebook_size, config.dim))
        self.register_buffer("weights", torch.full((config.num_codebooks,), 1 / config.num_codebooks))
        self.register_buffer("fitted", torch.tensor(False))
        self._is_fitted = False  # mirror of `fitted`

    @torch.no_grad()
    def fit(self, features: Tensor) -> float:
        """Choose the anchors among features `[N, D]` or `[B, D, L]` of all ranks, which must call it together.

        Each anchor is the feature farthest from the anchors chosen so far, among 16 V drawn ones. The weights of the K nearest
        anchors, one for each place in their order, are then fitted by least squares.

        Returns:
            Squared distance to the weighted sum of the anchors, mean over this rank's features and their channels.

        Raises:
            ValueError: another width, or fewer features than anchors.
        """
        rows, size = feature_rows(features, self.dim), self.config.codebook_size
        if len(rows) < size:
            raise ValueError(f"fit takes at least codebook_size = {size} features; got {len(rows)}.")
        drawn, total = pick_rows([[rows]], [16 * size], seeds=[self.config.seed])[0]
        self.anchors.copy_(_farthest(drawn[:total], size))
        self.fitted.fill_(True)
        near = self.anchors[nearest_codes(rows, self.anchors, self.num_codebooks)].double()  # [N, K, D]
        matrix, right = torch.einsum("nkd,njd->kj", near, near), torch.einsum("nkd,nd->k", near, rows.double())
        all_reduce_together([matrix, right])
        self.weights.copy_(torch.linalg.lstsq(matrix, right.unsqueeze(1), driver="gelsd").solution[:, 0])
        return float((rows - self._sum(nearest_codes(rows, self.anchors, self.num_codebooks))).square().mean())

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        ids = self._encode(z.detach(), grid, self.num_codebooks)
        return Quantized(straight_through(z, self._decode(ids, grid)), ids, zero_loss(z))

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        self._is_fitted = self._is_fitted or bool(self.fitted)
        if not self._is_fitted:
            raise ValueError("this quantizer has no anchors yet; call fit(features) or load a state.")
        ids = nearest_codes(to_rows(z), self.anchors, self.num_codebooks)  # [N, K]
        return ids.view(len(z), z.shape[2], self.num_codebooks).transpose(1, 2).contiguous()

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return from_rows(self._sum(ids.transpose(1, 2).flatten(0, 1)), ids)

    def _sum(self, ids: Tensor) -> Tensor:
        """Weighted sums of anchors `[N, D]` of ids `[N, K]`, added in the order of the anchors."""
        total = self.anchors.new_zeros(len(ids), self.dim, dtype=torch.float32)
        for k, weight in enumerate(self.weights.float()):
            total = total + weight * self.anchors.float()[ids[:, k]]
        return total


def _farthest(rows: Tensor, count: int) -> Tensor:
    """`count` of rows `[N, D]`, each the farthest from those before it; the first is the nearest to the mean."""
    chosen = [int((rows - rows.mean(0)).square().sum(1).argmin())]
    distance = (rows - rows[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (rows - rows[chosen[-1]]).square().sum(1))
    return rows[chosen]
