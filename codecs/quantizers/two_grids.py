"""Two quantizers, each on separate channels and positions: a coarse semantic grid and a fine pixel grid (DualViTok).

Not registered as a kind: a family with two grids builds it from the configs of the coarse and the fine quantizer.

Letters: B batch, D = D_1 + D_2 latent width, L_1 <= L positions of the coarse and the fine grid, K = K_1 + K_2 codebooks.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Quantized, Quantizer, QuantizerConfig


class TwoGrids(Quantizer):
    """Latents `[B, D, L]`, ids `[B, K, L]`: the coarse part fills the first L_1 positions of its channels and codebooks.

    Later positions of the coarse part are zeros, which are ignored. Losses are added; metrics get the prefixes `names`.

    Args:
        coarse, fine: settings of the coarse and the fine quantizer, of any kind, with `dim` filled in.
        positions: function from the fine grid `(h, w)` to L_1.
        names: prefixes of the metrics of the coarse and the fine quantizer.
    """

    needs_grid = True

    def __init__(
        self,
        coarse: QuantizerConfig,
        fine: QuantizerConfig,
        *,
        positions: Callable[[tuple[int, ...]], int],
        names: tuple[str, str],
    ) -> None:
        first, second = coarse.build(), fine.build()
        super().__init__(QuantizerConfig(dim=first.dim + second.dim), first.codebook_sizes + second.codebook_sizes)
        self.coarse, self.fine = first, second
        self.positions, self.names = positions, names

    def forward(self, z: Tensor, *, grid: tuple[int, ...] | None = None, mask: Tensor | None = None) -> Quantized:
        """As `Quantizer.forward`, but `grid`, the fine one, is needed, and `mask` is not allowed (ValueError)."""
        if mask is not None:
            raise ValueError("two grids take no mask: a batch holds pictures of one size.")
        a, b = (part(x) for part, x in zip(self._parts(), self._split(z, grid), strict=True))
        metrics = {f"{n}_{k}": v for n, out in zip(self.names, (a, b), strict=True) for k, v in out.metrics.items()}
        return Quantized(_join(a.z_q, b.z_q), _join(a.ids, b.ids), a.loss + b.loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        a, b = (part.encode(x) for part, x in zip(self._parts(), self._split(z, grid), strict=True))
        return _join(a, b)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        n, k = self._coarse_positions(ids, grid), self.coarse.num_codebooks
        return _join(self.coarse.decode(ids[:, :k, :n]), self.fine.decode(ids[:, k:]))

    def code_vectors(self, codebook: int) -> Tensor:
        k = self.coarse.num_codebooks
        return self.coarse.code_vectors(codebook) if codebook < k else self.fine.code_vectors(codebook - k)

    # --- usage: each part has its own window, since their numbers of positions differ ------------------------

    def usage(self) -> Tensor:
        return torch.cat([part.usage() for part in self._parts()])

    def perplexity(self) -> Tensor:
        return torch.cat([part.perplexity() for part in self._parts()])

    def dead(self) -> Tensor:
        return torch.cat([part.dead() for part in self._parts()])

    # --- parts --------------------------------------------------------------------------------------------------------

    def _parts(self) -> tuple[Quantizer, Quantizer]:
        return self.coarse, self.fine

    def _split(self, z: Tensor, grid: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
        self._check_latents(z)
        n, d = self._coarse_positions(z, grid), self.coarse.dim
        return z[:, :d, :n], z[:, d:]

    def _coarse_positions(self, x: Tensor, grid: tuple[int, ...] | None) -> int:
        if grid is None or len(grid) != 2 or grid[0] * grid[1] != x.shape[2]:
            raise ValueError(f"two grids need the fine one, (h, w) with h w = {x.shape[2]} positions; got {grid}.")
        return self.positions(grid)


def _join(coarse: Tensor, fine: Tensor) -> Tensor:
    """`[B, C_1, L_1]` and `[B, C_2, L]` as `[B, C_1 + C_2, L]`."""
    return torch.cat([F.pad(coarse, (0, fine.shape[2] - coarse.shape[2])), fine], dim=1)
