"""Multi-scale residual BSQ: the residual is quantized from a 1 x 1 map up to full size, a few bits a position.

Infinity (arXiv 2412.04431, section 3.1; FoundationVision/Infinity @ 4c27bbb54a, MIT). For each scale: area-resize the
residual down, scale every position to length 1, take signs / sqrt(b), resize up, subtract.
Letters: B batch, D latent width, L = H W positions of the grid, S positions of all scales, K ids a position, b bits.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import ConfigError, Signed
from .base import Quantized, straight_through
from .bsq import BSQ, BSQConfig
from .parts.scales import Phis, Scales, check_scales, enlarged, split_ids, stretched, unrolled


@dataclass(frozen=True, kw_only=True)
class MultiScaleBSQConfig(BSQConfig):
    """Settings of `MultiScaleBSQ`; those not listed here are in `BSQConfig`. Loss terms are means over the scales.

    Infinity: bits 16 to 64, bit_order "msb", and for 256 pixels the sides 1, 2, 4, 6, 8, 12, 16 (521 positions).

    Attributes:
        bits: b, bits a position.
        entropy: as in `BinaryConfig`.
        scales: (height, width) of every scale, from coarse to fine; the last is the grid of the latents. For a grid of
            another size all are stretched with it, rounded to the nearest and at least 1 position. A published schedule for
            that size may differ; to reproduce it, give its scales here.
        upsample: interpolation of a scale to full size. Infinity: bilinear ("trilinear" over one frame); XQ-GAN: bicubic.
        phi_ratio: share r of a convolution over every enlarged scale, phi(h) = (1 - r) h + r conv(h), as in `multiscale_vq`;
            0: none. XQ-GAN (arXiv 2412.01762): 0.5.
        phi_count: number of convolutions that the scales share; 0: one for each scale.
        unit_input: scale the latents to length 1 before the first scale (XQ-GAN); Infinity leaves their length.
        code_value: size of every channel of a code at the first scale; 0: 1 / sqrt(b), so that codes have length 1. XQ-GAN
            without its L2 norm: 1, with `normalize` and `unit_input` off.
        growth: factor between the lengths of the codes of one scale and of the scale before (XQ-GAN's `scale`).
    """

    kind: ClassVar[str] = "multiscale_bsq"

    bits: int = 32
    entropy: Literal["exact", "grouped", "analytic", "none"] = "analytic"
    scales: Scales = ((1, 1), (2, 2), (4, 4), (6, 6), (8, 8), (12, 12), (16, 16))
    upsample: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    phi_ratio: Signed = 0.0
    phi_count: int = 4
    unit_input: bool = False
    code_value: float = 0.0
    growth: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.code_value < 0 or self.growth <= 0:
            raise ConfigError(f"code_value is {self.code_value} and growth {self.growth}; codes need a positive size at every scale.")
        check_scales(self.scales)

    def quantizer_class(self) -> type["MultiScaleBSQ"]:
        return MultiScaleBSQ


class MultiScaleBSQ(BSQ):
    """ids `[B, K, S]`: the scales one after the other, each row by row; the ids of the first scales can be decoded without the rest.

    `grid` is needed wherever L is not that of the schedule's last scale. Gradients flow through the straight-through estimator of
    every scale, as in the published code; what is subtracted from the residual has no gradient.
    """

    needs_grid = True
    config: MultiScaleBSQConfig

    def __init__(self, config: MultiScaleBSQConfig) -> None:
        super().__init__(config)
        self.scale = config.code_value or self.scale
        self.scale_grids = config.scales
        self.phis = Phis(config.bits, config.phi_count, len(config.scales), abs(config.phi_ratio))

    def schedule(self, grid: tuple[int, ...] | None) -> Scales:
        """Return (height, width) of every scale for latents of `grid`."""
        return stretched(self.config.scales, grid)

    def length(self, index: int) -> float:
        """Length of the codes of scale `index` relative to those of the first scale."""
        return self.config.growth**index

    @torch.no_grad()
    def code_vectors(self, codebook: int) -> Tensor:
        size, device = self.codebook_sizes[codebook], self._device()
        ids = torch.zeros(1, self.num_codebooks, size, dtype=torch.int64, device=device)
        ids[0, codebook] = torch.arange(size, device=device)
        return self.values(self.unpack(ids))[0].t()

    def _levels(self, z: Tensor, grid: tuple[int, ...] | None) -> list[tuple[Tensor, Tensor]]:
        """(activated channels relative to the scale's `length`, bits), `[B, b, h w]` each, of every scale of `z [B, D, L]`."""
        scales = self.schedule(grid)
        residual = self.in_proj(z)  # [B, b, L]
        residual = F.normalize(residual, dim=1) if self.config.unit_input else residual
        residual = unrolled(residual, scales)  # [B, b, H, W]
        out = []
        for index, scale in enumerate(scales):
            small = residual if scale == scales[-1] else F.interpolate(residual, size=scale, mode="area")
            small = small.flatten(2)  # [B, b, h w]
            bits = self.signs(small)
            out.append((self.activate(small / self.length(index)), bits))
            residual = residual - self._enlarge(self.values(bits), index, scale, scales[-1])
        return out

    def _enlarge(self, code: Tensor, index: int, scale: tuple[int, int], full: tuple[int, int]) -> Tensor:
        """Scale codes `[B, b, h w]` by `length(index)`, resize them to `[B, b, H, W]`, and apply the phi of the scale."""
        code = (code * self.length(index)).unflatten(2, scale)
        if scale != full:
            code = enlarged(code, full, self.config.upsample)
        if not self.phis:
            return code
        return code * (1 - self.phis.ratio) + self.phis.at(index)(code) * self.phis.ratio

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        scales, levels = self.schedule(grid), self._levels(z, grid)
        total, loss, metrics, ids = z.new_zeros(()), z.new_zeros(()), {}, []
        for index, (scale, (u, bits)) in enumerate(zip(scales, levels, strict=True)):
            code = self.values(bits)
            total = total + self._enlarge(straight_through(u, code), index, scale, scales[-1])
            term, parts = self.losses(u, code, _shrink_mask(mask, scale, scales[-1]))
            loss = loss + term / len(scales)
            metrics = {name: metrics.get(name, 0) + value / len(scales) for name, value in parts.items()}
            ids.append(self.pack(bits))
        return Quantized(self.out_proj(total.flatten(2)), torch.cat(ids, dim=2), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return torch.cat([self.pack(bits) for _, bits in self._levels(z, grid)], dim=2)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        scales, total = self.schedule(grid), torch.zeros((), device=ids.device)
        for index, part in enumerate(split_ids(ids, scales)):
            total = total + self._enlarge(self.values(self.unpack(part)), index, scales[index], scales[-1])
        return self.out_proj(total.flatten(2))


def _shrink_mask(mask: Tensor | None, scale: tuple[int, int], full: tuple[int, int]) -> Tensor | None:
    """Mask `[B, H W]` resized to a scale, `[B, h w]`: valid where any part of the area is valid."""
    if mask is None or scale == full:
        return mask
    return F.interpolate(mask.float().unflatten(1, full).unsqueeze(1), size=scale, mode="area").flatten(1) > 0
