"""A codebook of durations in front of another quantizer's codebooks: positions that stand for one frame or several.

Letters: B batch, D latent width, K codebooks of the other quantizer, R positions (groups of frames).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...quantizers.base import Quantized, Quantizer, QuantizerConfig


class WithDurations(Quantizer):
    """ids `[B, 1 + K, R]`: duration d as d - 1, then those of `inner`.

    The first channel of the latents `[B, 1 + D, R]` is the duration, a whole number; 0 marks what fills up an item behind its last
    position: there all ids are 0, and losses and statistics leave it out.

    Args:
        inner: the other quantizer.
        longest: largest duration.
    """

    def __init__(self, inner: Quantizer, longest: int) -> None:
        super().__init__(QuantizerConfig(dim=1 + inner.dim), (longest, *inner.codebook_sizes))
        self.inner = inner
        self.prefix_decodable = inner.prefix_decodable or inner.num_codebooks == 1
        # all positions of an item go through together: their number is known only from the latents
        self.needs_grid = True

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        valid = z[:, 0] > 0
        out = self.inner._quantize(z[:, 1:], grid, valid if mask is None else valid & mask)
        ids = torch.cat([self._durations(z), out.ids], dim=1) * valid[:, None]
        return Quantized(torch.cat([z[:, :1], out.z_q], dim=1), ids, out.loss, out.metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        ids = self._durations(z)
        if num_codebooks > 1:
            ids = torch.cat([ids, self.inner._encode(z[:, 1:], grid, num_codebooks - 1)], dim=1)
        return ids * (z[:, :1] > 0)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        durations = (ids[:, :1] + 1).float()
        if ids.shape[1] == 1:  # durations alone
            return F.pad(durations, (0, 0, 0, self.inner.dim))
        return torch.cat([durations, self.inner._decode(ids[:, 1:], grid)], dim=1)

    @staticmethod
    def _durations(z: Tensor) -> Tensor:
        return z[:, :1].round().long().sub(1).clamp(min=0)
