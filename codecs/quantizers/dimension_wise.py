"""Dimension-wise post-training quantization: bins of equal probability under a Gaussian, in every channel.

TokenBridge (arXiv 2503.16430; YuqingWang1029/TokenBridge @ 3ede281825) and CubiD (YuqingWang1029/CubiD @ 5c2146ddac).
Nothing is trained: the quantizer fits itself to the latents of any trained continuous autoencoder.

With V levels the standard normal is cut at its V-quantiles, clamped to +-3 sigma; each bin's value is the mean of the
normal inside it. A channel's range (low, high) is mapped to +-3 sigma, and the nearest value is chosen.
Letters: B batch, D latent width, L positions, V levels; K = D.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..config import ConfigError, Signed
from .base import Quantized, Quantizer, QuantizerConfig, straight_through, zero_loss


@dataclass(frozen=True, kw_only=True)
class DimensionWiseConfig(QuantizerConfig):
    """Settings of `DimensionWise`.

    Attributes:
        levels: V, bins a channel. TokenBridge: 64, CubiD: 8.
        low: lower end of the range that every channel has before `fit`. TokenBridge: -5, CubiD: -9.
        high: upper end of that range.
        sigmas: `fit` sets the range of a channel to its mean +- this many standard deviations.
    """

    kind: ClassVar[str] = "dimension_wise"

    levels: int = 64
    low: Signed = -5.0
    high: Signed = 5.0
    sigmas: float = 3.0

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 2**16:
            raise ConfigError(f"levels is {self.levels}; allowed: 2 to 65536.")
        if self.low >= self.high or self.sigmas <= 0:
            raise ConfigError(f"the range {self.low}..{self.high} over {self.sigmas} sigmas is empty.")

    def quantizer_class(self) -> type["DimensionWise"]:
        return DimensionWise


class DimensionWise(Quantizer):
    """ids `[B, D, L]`, 0 the lowest bin; the gradient is the identity. The state dict holds only `low` and `high`, `[D, 1]`."""

    config: DimensionWiseConfig
    low: Tensor
    high: Tensor
    table: Tensor

    def __init__(self, config: DimensionWiseConfig) -> None:
        super().__init__(config, (config.levels,) * config.dim)
        self.register_buffer("low", torch.full((config.dim, 1), config.low))
        self.register_buffer("high", torch.full((config.dim, 1), config.high))
        self.register_buffer("table", bin_means(config.levels, config.sigmas), persistent=False)  # [V]

    @torch.no_grad()
    def fit(self, latents: Tensor | Iterable[Tensor]) -> "DimensionWise":
        """Set each channel's range to mean +- sigmas * standard deviation of the latents.

        Args:
            latents: `[B, D, L]`, or an iterable of such batches (read once, in float64), of this rank; all ranks must
                call it together and get the same ranges.

        Raises:
            ValueError: wrong shape, fewer than 2 positions, a channel without any variance.
        """
        if self.frozen:
            raise ValueError("the quantizer is frozen; call freeze(False) before fit.")
        count, mean, squares = 0, torch.zeros(self.dim, dtype=torch.float64), torch.zeros(self.dim, dtype=torch.float64)
        for batch in [latents] if isinstance(latents, Tensor) else latents:
            self._check_latents(batch)
            rows = batch.detach().double().cpu().transpose(0, 1).flatten(1)  # [D, N]
            if rows.shape[1] == 0:
                continue
            delta = rows.mean(1) - mean  # pairwise update of Chan et al. 1979: no cancellation for a large mean
            total = count + rows.shape[1]
            squares += (rows - rows.mean(1, keepdim=True)).square().sum(1) + delta**2 * count * rows.shape[1] / total
            mean, count = mean + delta * rows.shape[1] / total, total
        count, mean, squares = _over_ranks(count, mean, squares)
        if count < 2 or bool((squares <= 0).any()):
            flat = (squares <= 0).nonzero().flatten().tolist()
            raise ValueError(f"fit needs positions that differ: got {count}, and no variance in the channels {flat}.")
        reach = self.config.sigmas * (squares / (count - 1)).sqrt()
        self.low.copy_((mean - reach).unsqueeze(1))
        self.high.copy_((mean + reach).unsqueeze(1))
        return self

    def nearest(self, z: Tensor) -> Tensor:
        """Nearest bin of every channel, int64 `[B, D, L]`; of two at equal distance the lower one."""
        s = self.config.sigmas
        x = ((z - self.low) / (self.high - self.low) * (2 * s) - s).clamp(-s, s)
        above = torch.searchsorted(self.table, x.contiguous()).clamp(1, len(self.table) - 1)
        # distances are computed as the authors do, for the same rounding; only the two neighbours can be nearest
        closer_below = (x - self.table[above - 1]).abs() <= (x - self.table[above]).abs()
        return above - closer_below.long()

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        ids = self.nearest(z.detach())
        return Quantized(straight_through(z, self._decode(ids, grid)), ids, zero_loss(z))

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.nearest(z)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        s = self.config.sigmas
        return (self.table[ids.long()] + s) / (2 * s) * (self.high - self.low) + self.low


def _over_ranks(count: int, mean: Tensor, squares: Tensor) -> tuple[int, Tensor, Tensor]:
    """Number, means and sums of squared deviations `[D]` of all ranks together."""
    if not (dist.is_available() and dist.is_initialized()):
        return count, mean, squares
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    sums = torch.cat([mean.new_tensor([count]), count * mean]).to(device)
    dist.all_reduce(sums)
    total = sums.cpu()[0].clamp(min=1)
    whole = sums.cpu()[1:] / total
    squares = (squares + count * (mean - whole).square()).to(device)
    dist.all_reduce(squares)
    return int(sums[0]), whole, squares.cpu()


def bin_means(levels: int, sigmas: float) -> Tensor:
    """Mean of the standard normal inside each of its quantile bins clamped to +-sigmas, float32 `[levels]`.

    E[x | a < x < b] = (phi(a) - phi(b)) / (Phi(b) - Phi(a)) with phi the density and Phi the distribution function.
    """
    shares = torch.linspace(0, 1, levels + 1, dtype=torch.float64, device="cpu")  # the CPU also while a model is built on "meta"
    edges = torch.special.ndtri(shares).clamp(-sigmas, sigmas)
    density = torch.exp(-edges.square() / 2) / math.sqrt(2 * math.pi)
    share = torch.special.ndtr(edges)
    means = (density[:-1] - density[1:]) / (share[1:] - share[:-1])
    if not bool((means[1:] > means[:-1]).all()):
        raise ConfigError(f"{levels} levels within +-{sigmas} sigmas have empty bins; use fewer levels or more sigmas.")
    return means.float()
