"""Multi-scale residual VQ: the residual is quantized from a 1 x 1 map up to full size with one table.

VAR (Tian et al. 2024, arXiv 2404.02905, section 3.2, algorithms 1 and 2; FoundationVision/VAR @ 78b95394fc, MIT). For
each scale: area-resize the residual down, look up the nearest codes, resize them up, mix with a convolution (phi), subtract.
Letters: B batch, D latent width, L = H W positions of the grid, S positions of all scales, V codebook size.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import ConfigError, Signed
from .base import Quantized, Quantizer, straight_through
from .paired_vq import PairedCodebook
from .parts.codebook import Codebook, TableConfig, apply_updates
from .parts.rows import steady_conv2d, to_rows
from .parts.scales import Phis, Scales, check_scales, enlarged, split_ids, stretched, unrolled


@dataclass(frozen=True, kw_only=True)
class MultiScaleVQConfig(TableConfig):
    """Settings of `MultiScaleVQ`; those not listed here are in `TableConfig`. Loss terms are means over the scales.

    Attributes:
        codebook_size: V, one table for all scales.
        scales: (height, width) of every scale, from coarse to fine; the last is the grid of the latents. For a grid of
            another size all are stretched with it, rounded to the nearest and at least 1 position.
        upsample: interpolation of a scale to full size.
        phi_ratio: share r of the convolution in phi(h) = (1 - r) h + r conv(h); 0: no phi.
        phi_count: number of convolutions that the scales share, each for the scales nearest to its tick on 0..1; 0: one for each
            scale.
        dropout: probability that a training item is reconstructed from its first scales alone, a random number of them, so that
            these can be decoded without the rest (ImageFolder, arXiv 2410.01756: 0.1, from 3); losses cover all scales.
        dropout_from: the fewest scales that such an item keeps.
        drop_scale: probability that a training batch does without one scale, any but the first: it is neither subtracted nor part of
            the losses, and the scales after it make up for it (TokenFlow's training code: 0.1).
        semantic_dim: width of the first of two tables that share their ids (TokenFlow; see `paired_vq`); 0: one table.
    """

    kind: ClassVar[str] = "multiscale_vq"

    codebook_size: int = 4096
    scales: Scales = tuple((s, s) for s in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16))
    upsample: Literal["bilinear", "bicubic", "nearest"] = "bicubic"
    phi_ratio: Signed = 0.5
    phi_count: int = 4
    dropout: float = 0.0
    dropout_from: int = 1
    drop_scale: float = 0.0
    semantic_dim: int = 0
    update: Literal["ema", "gradient"] = "gradient"
    kmeans_init: bool = False
    replace_below: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scales(self.scales)
        if not 0 <= self.dropout <= 1 or not 1 <= self.dropout_from <= len(self.scales):
            raise ConfigError(
                f"dropout is {self.dropout}, dropout_from {self.dropout_from}; allowed: 0 to 1, and 1 to {len(self.scales)} scales."
            )
        if not 0 <= self.drop_scale <= 1 or (self.drop_scale and len(self.scales) < 2):
            raise ConfigError(f"drop_scale is {self.drop_scale} with {len(self.scales)} scales; allowed: 0 to 1, with at least 2.")
        if self.codebook_dim or self.gradient != "straight_through":
            raise ConfigError("multiscale_vq has no codebook_dim, and allows only gradient 'straight_through'.")
        if self.dim and not 0 <= self.semantic_dim < self.dim:
            raise ConfigError(f"semantic_dim is {self.semantic_dim}; it must leave some of {self.dim} channels to pixels.")

    def quantizer_class(self) -> type["MultiScaleVQ"]:
        return MultiScaleVQ


class MultiScaleVQ(Quantizer):
    """ids `[B, 1, S]`: the scales one after the other, each row by row; the ids of the first scales can be decoded without the rest.

    `grid` is needed wherever L is not that of the schedule's last scale. The gradient to the latents is the identity;
    the table (with `update = "gradient"`) and phi learn from the codebook term alone, which is computed after every scale.
    """

    needs_grid = True
    config: MultiScaleVQConfig

    def __init__(self, config: MultiScaleVQConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        if config.semantic_dim:
            self.codebook = PairedCodebook(config.codebook_size, config.dim, config, semantic_dim=config.semantic_dim)
        else:
            self.codebook = Codebook(config.codebook_size, config.dim, config)
        self.scale_grids = config.scales
        self.phis = Phis(config.dim, config.phi_count, len(config.scales), abs(config.phi_ratio))

    def schedule(self, grid: tuple[int, ...] | None) -> Scales:
        """Return (height, width) of every scale for latents of `grid`."""
        return stretched(self.config.scales, grid)

    def grow(self, ids: Tensor, index: int, scale: tuple[int, int], full: tuple[int, int]) -> Tensor:
        """Contribution `[B, D, H, W]` of scale `index` to z_q: the vectors of ids `[B, h w]`, resized and passed through its phi."""
        h = self.codebook.vectors(ids).float().transpose(1, 2).unflatten(2, scale)  # [B, D, h, w]
        if index < len(self.config.scales) - 1 and scale != full:
            h = enlarged(h, full, self.config.upsample)
        if not self.phis:
            return h
        return h * (1 - self.phis.ratio) + steady_conv2d(h, self.phis.at(index)) * self.phis.ratio

    @torch.no_grad()
    def code_vectors(self, codebook: int) -> Tensor:
        return self.codebook.vectors(torch.arange(self.codebook.size, device=self.codebook.embed.device)).float()

    def next_inputs(self, ids: Tensor, *, grid: tuple[int, ...] | None = None) -> Tensor:
        """Input of an autoregressive model over scales: after each scale but the last the sum so far, area-resized to the next one.

        Args:
            ids: `[B, 1, S]`.
            grid: `(h, w)` of the latents; None: that of the last scale of the config.

        Returns:
            float32 `[B, D, S']`, S' = S without the positions of the first scale.
        """
        scales, total, out = self.schedule(grid), 0.0, []
        for i, part in enumerate(split_ids(ids, scales)[:-1]):
            total = total + self.grow(part[:, 0], i, scales[i], scales[-1])
            out.append(F.interpolate(total, size=scales[i + 1], mode="area").flatten(2))
        return torch.cat(out, dim=2)

    def _search(self, residual: Tensor, index: int, scale: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Rows `[B h w, D]` of the residual `[B, D, H, W]` at one scale, and their ids `[B, h w]`."""
        last = index == len(self.config.scales) - 1
        small = residual if last else F.interpolate(residual, size=scale, mode="area")
        rows = to_rows(small.flatten(2))
        return rows, self.codebook.search(rows).view(len(residual), small.shape[-2] * small.shape[-1])

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        c, scales = self.config, self.schedule(grid)
        x = unrolled(z, scales)  # [B, D, H, W]
        weights = None if mask is None else mask.unflatten(1, scales[-1]).unsqueeze(1)
        total, residual = torch.zeros_like(x), x.detach()
        kept, shown = self._kept(len(x), x.device), torch.zeros_like(x)
        commitment, code, ids = z.new_zeros(()), z.new_zeros(()), []
        absent = self._absent()
        count = len(scales) - (absent is not None)
        learns = self.training and not self.frozen
        if learns and not self.codebook.is_ready():  # k-means starts from the latents at all scales
            small = [F.interpolate(residual, size=scale, mode="area").flatten(2) for scale in scales]
            self.codebook.prepare(to_rows(torch.cat(small, dim=2)))
        for i, scale in enumerate(scales):
            rows, found = self._search(residual, i, scale)
            ids.append(found)
            if i == absent:
                continue
            if learns:
                self.codebook.observe(rows, found.flatten())
            added = self.grow(found, i, scale, scales[-1])
            total, residual = total + added, residual - added.detach()
            shown = shown + (added if kept is None else added * (i < kept)).detach()
            commitment = commitment + _mean((total.detach() - x).square(), weights) / count
            code = code + _mean((total - x.detach()).square(), weights) / count
        if learns:
            apply_updates([self.codebook])
        loss = c.commitment_weight * commitment + c.codebook_weight * code
        all_ids = torch.cat(ids, dim=1).unsqueeze(1)
        metrics = {"commitment": commitment.detach()}
        return Quantized(straight_through(z, shown.flatten(2)), all_ids, loss, metrics)

    def _kept(self, batch: int, device: torch.device) -> Tensor | None:
        """Number of scales from which each item of a training batch is reconstructed, `[B, 1, 1, 1]`; None: all."""
        c, count = self.config, len(self.config.scales)
        if not c.dropout or not self.training:
            return None
        some = torch.randint(c.dropout_from, count + 1, (batch,), device=device)
        dropped = torch.rand(batch, device=device) < c.dropout
        return torch.where(dropped, some, count)[:, None, None, None]

    def _absent(self) -> int | None:
        """The scale that this batch does without; None: it has all."""
        c = self.config
        if not c.drop_scale or not self.training or float(torch.rand(())) >= c.drop_scale:
            return None
        return int(torch.randint(1, len(c.scales), ()))

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        scales = self.schedule(grid)
        residual, ids = unrolled(z, scales), []
        for i, scale in enumerate(scales):
            ids.append(self._search(residual, i, scale)[1])
            residual = residual - self.grow(ids[-1], i, scale, scales[-1])
        return torch.cat(ids, dim=1).unsqueeze(1)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        scales = self.schedule(grid)
        parts = split_ids(ids, scales)
        total = self.grow(parts[0][:, 0], 0, scales[0], scales[-1])
        for i, part in enumerate(parts[1:], start=1):
            total = total + self.grow(part[:, 0], i, scales[i], scales[-1])
        return total.flatten(2)


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of `[B, D, H, W]`, over the positions that `weights [B, 1, H, W]` marks; 0 when there are none."""
    if weights is None:
        return values.mean() if values.numel() else values.sum()
    return (values * weights).sum() / (weights.sum() * values.shape[1]).clamp(min=1)
