"""Residual finite scalar quantization: each level rounds the residual of the levels before it, on a finer grid.

Letters: B batch, D latent width, L positions, K levels (codebooks), n channels. Level k has scale s_k: its codes are
those of `fsq.py` times s_k.

`fsq`: vector-quantize-pytorch 1.17, in X-codec2 and NeuCodec (K = 1).
    r_0 = bound(z), in levels; code_k = s_k fsq(r_k / s_k), which bounds once more; s_k = (V - 1)^-k.
`symmetric`: vector-quantize-pytorch 1.32.
    r_0 = c tanh(z / c) with c = 1 + 1/(V - 1); code_k = s_k symmetric(clamp(r_k / s_k, -1, 1)); s_k = V^-k.
`stable`: stable-codec's `ResidualFSQBottleneck`, in float64.
    r_0 = tanh(z); digit_k = round((r_k + s_k) (V - 1) / (2 s_k)); s_k = (V - 1)^-k.

V levels of a channel, r the residual. X-codec2 and NeuCodec must be built as `residual_fsq` with `num_codebooks` 1, not
as `fsq`: only `residual_fsq` bounds twice, first to about +-V/2 and then again, which gives other ids.
stable-codec's presets are K = 2 of (5,) * 6 with scales (1, 0.25), K = 4 of (3,) * 6 with (1, 0.5, 0.25, 0.125) and
K = 1 of (6,) * 6; the defaults give these scales.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..config import ConfigError
from ..members import members
from .base import Quantized, Quantizer, QuantizerConfig, straight_through, zero_loss
from .fsq import MAX_CODEBOOK_SIZE, ScalarGrid, check_levels
from .parts.projection import projections


@dataclass(frozen=True, kw_only=True)
class ResidualFSQConfig(QuantizerConfig):
    """Settings of `ResidualFSQ`; `dim` 0 without a family means n, the length of `levels`.

    Attributes:
        levels: number of values of each channel, the same in every codebook; at most 2^18 codes.
        num_codebooks: K.
        stages: `stable` only, in place of `levels` and `num_codebooks`: the levels of each stage, where they differ. Needs
            `scales`. A stage of more than 2^18 codes gets several ids; then only all codebooks together can be decoded.
        convention: see the top of the file.
        scales: s_k of each codebook, for all channels; empty: the convention's own.
        project: linear maps D -> n and back; None: only where D differs from n.
        dropout: probability that an item of a training batch keeps only its first m levels, m uniform in 1..K.
    """

    kind: ClassVar[str] = "residual_fsq"

    levels: tuple[int, ...] = (5, 5, 5, 5, 5, 5)
    num_codebooks: int = 2
    stages: tuple[tuple[int, ...], ...] = ()
    convention: Literal["fsq", "symmetric", "stable"] = "stable"
    scales: tuple[float, ...] = ()
    project: bool | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_levels(self.levels, self.convention)
        if math.prod(self.levels) > MAX_CODEBOOK_SIZE:
            raise ConfigError(f"levels {self.levels} have {math.prod(self.levels)} codes; at most 2^18 a codebook.")
        if self.num_codebooks < 1:
            raise ConfigError(f"num_codebooks is {self.num_codebooks}; it must be at least 1.")
        for stage in self.stages:
            check_levels(stage, self.convention)
        if self.stages and (self.convention != "stable" or not self.scales or len({len(s) for s in self.stages}) > 1):
            raise ConfigError("stages need convention 'stable', scales, and the same number of channels in each.")
        num = len(self.stages) or self.num_codebooks
        if self.scales and (len(self.scales) != num or min(self.scales) <= 0):
            raise ConfigError(f"scales is {self.scales}; give {num} positive numbers, or none.")
        if not 0 <= self.dropout <= 1:
            raise ConfigError(f"dropout is {self.dropout}; it is a probability.")

    def quantizer_class(self) -> type["ResidualFSQ"]:
        return ResidualFSQ

    @property
    def levels_by_stage(self) -> tuple[tuple[int, ...], ...]:
        """Levels of each stage in order."""
        return self.stages or (self.levels,) * self.num_codebooks


class ResidualFSQ(Quantizer):
    """K levels; the first m can be decoded without the others. In training, z_q of an item with dropout is that of its first m.

    Differs: vector-quantize-pytorch adds the straight-through gradient of every level, K times that of one; here the
    gradient is that of the first squash alone (for `fsq`, of the first level), whatever K is.
    """

    prefix_decodable = True
    config: ResidualFSQConfig
    scales: Tensor

    def __init__(self, config: ResidualFSQConfig) -> None:
        stages = config.levels_by_stage
        config = dataclasses.replace(config, dim=config.dim or len(stages[0]))
        grids = [ScalarGrid(levels, config.convention) for levels in stages]
        super().__init__(config, tuple(v for g in grids for v in g.codebook_sizes))
        self.grids = nn.ModuleList(grids)
        self.prefix_decodable = self.num_codebooks == len(stages)
        self.register_buffer("scales", _scales(config), persistent=False)  # [K, n, 1]
        self.in_proj, self.out_proj = projections(config.dim, len(stages[0]), config.project)

    @property
    def grid(self) -> ScalarGrid:
        """The grid of the first stage."""
        return self.stage_grids[0]

    @property
    def stage_grids(self) -> list[ScalarGrid]:
        """The grids of all stages, in order."""
        return members(self.grids, ScalarGrid)

    def squash(self, z: Tensor) -> Tensor:
        """The first residual `[B, n, L]` of projected latents `[B, n, L]`."""
        if self.config.convention == "fsq":
            return self.grid.bounded(z)
        if self.config.convention == "stable":
            return torch.tanh(z)
        c = 1 + self.grid.step / 2
        return torch.tanh(z / c) * c

    def digits(self, z: Tensor, num: int | None = None) -> list[Tensor]:
        """Float digits `[B, n, L]` of each of the first `num` stages; None: of all stages."""
        convention, out = self.config.convention, []
        if convention == "stable" and z.device.type != "mps":  # Apple GPUs have no float64
            z = z.double()
        residual = self.squash(z)
        for scale, grid in zip(self.scales[:num], self.stage_grids, strict=False):
            if convention == "fsq":
                digits = grid.digits(grid.bounded(residual / scale))
            elif convention == "stable":
                digits = ((residual + scale) / (grid.step * scale)).round()
            else:
                digits = grid.digits((grid.levels - 1) * ((residual / scale).clamp(-1, 1) + 1) / 2)
            digits = digits.clamp(min=0).minimum(grid.levels - 1)  # rounding can put a residual beyond the outermost level
            out.append(digits)
            residual = residual - self._level(digits, scale, grid)
        return out

    def _level(self, digits: Tensor, scale: Tensor, grid: ScalarGrid) -> Tensor:
        """Values of one level, in the dtype of `digits`."""
        if self.config.convention == "stable":
            return digits * (grid.step * scale) - scale
        return grid.values(digits) * scale

    def _sum(self, digits: list[Tensor], keep: Tensor | None = None) -> Tensor:
        """Sum of the levels' values `[B, n, L]`; `keep` bool `[K, B, 1, 1]` leaves levels out."""
        total, grids = torch.zeros_like(digits[0], dtype=torch.float32), self.stage_grids
        for k, d in enumerate(digits):
            value = self._level(d.float(), self.scales[k], grids[k])
            total = total + (value if keep is None else torch.where(keep[k], value, 0.0))
        return total

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        u = self.in_proj(z)  # [B, n, L]
        digits = self.digits(u.detach())
        soft = self.squash(u)
        if self.config.convention == "fsq":
            soft = self.grid.continuous(self.grid.bounded(soft))
        z_q = straight_through(soft, self._sum(digits, self._draw(z)))
        return Quantized(self.out_proj(z_q), self._pack(digits), zero_loss(z))

    def _draw(self, z: Tensor) -> Tensor | None:
        """Draw which stages of each item are kept, bool `[K, B, 1, 1]`; None: all."""
        if not self.training or not self.config.dropout:
            return None
        k = len(self.grids)
        dropped = torch.rand(z.shape[0], device=z.device) < self.config.dropout
        kept = torch.where(dropped, torch.randint(1, k + 1, (z.shape[0],), device=z.device), k)
        return (torch.arange(k, device=z.device).unsqueeze(1) < kept).unsqueeze(-1).unsqueeze(-1)

    def _pack(self, digits: list[Tensor]) -> Tensor:
        return torch.cat([g.pack(d) for g, d in zip(self.stage_grids, digits, strict=False)], dim=1)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self._pack(self.digits(self.in_proj(z), num_codebooks if self.prefix_decodable else None))

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        parts, k = [], 0
        for stage in self.stage_grids:
            if k < ids.shape[1]:
                parts.append(stage.unpack(ids[:, k : k + len(stage.groups)]))
                k += len(stage.groups)
        return self.out_proj(self._sum(parts))


def _scales(config: ResidualFSQConfig) -> Tensor:
    """s_k of every level and channel, `[K, n, 1]`."""
    v = torch.tensor(config.levels_by_stage[0], dtype=torch.float32)
    base = v if config.convention == "symmetric" else v - 1
    own = [base**-k for k in range(len(config.levels_by_stage))]
    given = [torch.full_like(v, s) for s in config.scales]
    return torch.stack(given or own).unsqueeze(-1)
