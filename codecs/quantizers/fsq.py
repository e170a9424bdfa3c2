"""Finite scalar quantization: round each of a few channels to a few levels; no codebook, nothing to collapse.

Mentzer et al. 2023, arXiv 2309.15505. Letters: B batch, D latent width, L positions, K codebooks, n channels that are
rounded, digit: the level of one channel, 0..levels-1.

Four published conventions, and one of a library, define how a real number is mapped to a digit, and a digit to a value:

`fsq`: vector-quantize-pytorch, Cosmos, FlexTok (X-codec2 and NeuCodec bound twice: `residual_fsq`).
    u = h tanh(z + atanh(o/h)) - o, h = (V - 1)(1 + e)/2; digit = round(u) + V//2; value = (digit - V//2) / (V//2).
`nemo`: the listing in the paper's appendix, NeMo. As `fsq`, but with tan(o/h) and h = (V - 1)(1 - e)/2.
`stable`: stable-codec. u = (tanh(z) + s)(V - 1)/2s; digit = round(u); value = 2s digit/(V - 1) - s; scale s, usually 1.
`symmetric`: vector-quantize-pytorch with `preserve_symmetry`. As `stable` (s = 1), but digit = floor(u + 1/2).
`s3`: S3Tokenizer (CosyVoice 2), V = 3. u = 0.9990000128746033 tanh(z); digit = round(u) + 1; value = digit - 1.

V levels of the channel, e = 1e-3, o = 1/2 for even V and 0 for odd; round is half to even, so that `stable` and
`symmetric` differ on exact half-steps only. The first channel is the fastest digit of an id everywhere.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through, zero_loss
from .parts.projection import projections

Convention = Literal["fsq", "nemo", "stable", "symmetric", "s3"]

#: No id is larger: bigger grids are split into several codebooks.
MAX_CODEBOOK_SIZE = 2**18
#: Margin of `fsq` and `nemo` around the outermost levels.
EPS = 1e-3
#: The constant of S3Tokenizer, 0.999 in float32.
S3_SCALE = 0.9990000128746033


@dataclass(frozen=True, kw_only=True)
class FSQConfig(QuantizerConfig):
    """Settings of `FSQ`; `dim` 0 without a family means the number of levels.

    Attributes:
        levels: number of levels of each channel; 8 x 5 x 5 x 5 = 1000 codes. 64k: (8, 8, 8, 5, 5, 5).
        convention: rounding and numbering, see the top of the file.
        project: linear maps D -> n and back; None: only where D differs from n.
        scale: `stable` only: the outermost values are -scale and scale.
        noise_dropout: p, `stable` only, training only; 0: off. Each item gets, with probability 1 - p, uniform noise of one
            level's width instead of rounding; of the other items a share p passes unrounded. `z_q` is then not
            `decode(ids)`; ids are always the rounded ones. stable-codec: 0.5.
    """

    kind: ClassVar[str] = "fsq"

    levels: tuple[int, ...] = (8, 5, 5, 5)
    convention: Convention = "fsq"
    project: bool | None = None
    scale: float = 1.0
    noise_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_levels(self.levels, self.convention)
        if self.noise_dropout and self.convention != "stable":
            raise ConfigError(f"noise_dropout belongs to convention 'stable', not {self.convention!r}; set it to 0.")
        if self.scale <= 0 or (self.scale != 1 and self.convention != "stable"):
            raise ConfigError(f"scale is {self.scale}; it must be positive, and 1 but for convention 'stable'.")
        if not 0 <= self.noise_dropout < 1:
            raise ConfigError(f"noise_dropout is {self.noise_dropout}; it must lie in 0..1.")

    def quantizer_class(self) -> type["FSQ"]:
        return FSQ


class ScalarGrid(nn.Module):
    """Arithmetic of one grid of levels: channels to digits, digits to values, digits to ids. No parameters.

    Args:
        levels: V of each channel.
        convention: see the top of the file.
        groups: `(start, end)` of the channels of each id; None: as few ids as possible, see `split_levels`.
        scale: s of the convention `stable`.
    """

    levels: Tensor
    basis: Tensor
    centre: Tensor
    step: Tensor
    bound: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(
        self,
        levels: tuple[int, ...],
        convention: Convention,
        groups: list[tuple[int, int]] | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.convention, self.scale = convention, scale
        self.sizes = levels
        self.groups = groups or split_levels(levels)
        self.codebook_sizes = tuple(math.prod(levels[a:b]) for a, b in self.groups)
        v = torch.tensor(levels, dtype=torch.float32).unsqueeze(-1)  # [n, 1], for [B, n, L]
        offset = torch.where(v % 2 == 0, 0.5, 0.0)
        bound = (v - 1) * (1 + EPS) / 2 if convention == "fsq" else (v - 1) * (1 - EPS) / 2
        shift = torch.atanh(offset / bound) if convention == "fsq" else torch.tan(offset / bound)
        basis = [math.prod(levels[a:i]) for a, b in self.groups for i in range(a, b)]
        for name, value in {
            "levels": torch.tensor(levels, dtype=torch.int64).unsqueeze(-1),
            "basis": torch.tensor(basis, dtype=torch.int64).unsqueeze(-1),
            "centre": v.div(2, rounding_mode="floor"),
            "step": scale * 2 / (v - 1),
            "bound": bound,
            "offset": offset,
            "shift": shift,
        }.items():
            self.register_buffer(name, value, persistent=False)

    def bounded(self, z: Tensor) -> Tensor:
        """Squash channels `[B, n, L]` to units of levels; rounded, they are the digits, except for `centre` in `fsq`, `nemo`, `s3`."""
        if self.convention in ("fsq", "nemo"):
            return torch.tanh(z + self.shift) * self.bound - self.offset
        if self.convention == "s3":
            return torch.tanh(z) * S3_SCALE
        # for s = 1 the same formula twice, each rounded as its authors' code rounds it: this decides what is an exact half-step
        if self.convention == "symmetric":
            return (self.levels - 1) * (torch.tanh(z) + 1) / 2
        return (torch.tanh(z) + self.scale) / self.step

    def digits(self, bounded: Tensor) -> Tensor:
        """Return the digits, float `[B, n, L]`, of the output of `bounded`."""
        # Differs: with a scale below 1, tanh(z) may lie beyond the outermost levels; the authors number such levels, here they are
        # clamped
        if self.convention == "stable":
            return bounded.round().clamp(min=0).minimum(self.levels - 1)
        if self.convention == "symmetric":
            return (bounded + 0.5).floor()
        return bounded.round() + self.centre

    def values(self, digits: Tensor) -> Tensor:
        """Return the values, about -1..1, of float digits `[B, n, L]`."""
        if self.convention in ("stable", "symmetric"):
            return digits * self.step - self.scale
        return (digits - self.centre) / self.centre

    def continuous(self, bounded: Tensor) -> Tensor:
        """Return `[B, n, L]`, the values without rounding of the output of `bounded`: the gradient flows through these."""
        if self.convention in ("stable", "symmetric"):
            return bounded * self.step - self.scale
        return bounded / self.centre

    def pack(self, digits: Tensor) -> Tensor:
        """Digits `[B, n, L]` to ids int64 `[B, K, L]`; the first channel of each group is the fastest."""
        ids = []
        for a, b in self.groups:
            total = digits[:, b - 1]
            for i in range(b - 2, a - 1, -1):
                total = torch.add(digits[:, i], total, alpha=self.sizes[i])
            ids.append(total)
        return torch.stack(ids, dim=1).long()  # floats count exactly to 2^24, ids end at 2^18

    def unpack(self, ids: Tensor) -> Tensor:
        """Ids `[B, K, L]` to float digits `[B, n, L]`."""
        spread = torch.cat([ids[:, k : k + 1].expand(-1, b - a, -1) for k, (a, b) in enumerate(self.groups)], dim=1)
        return (spread.long() // self.basis % self.levels).float()


class FSQ(Quantizer):
    """Round each channel to its levels (arXiv 2309.15505, section 3); conventions at the top of the file.

    Grids of more than 2^18 codes have K > 1 ids a position: channels in order, each id taking as many as fit.
    """

    config: FSQConfig

    def __init__(self, config: FSQConfig, *, groups: int | None = None) -> None:
        """Args:
        config: `dim` 0 means the number of levels.
        groups: repeat the levels this many times, one id for each (`grouped_fsq`).
        """
        n = len(config.levels)
        spans = None if groups is None else [(i * n, (i + 1) * n) for i in range(groups)]
        levels = config.levels * (groups or 1)
        config = dataclasses.replace(config, dim=config.dim or len(levels))
        grid = ScalarGrid(levels, config.convention, spans, config.scale)
        super().__init__(config, grid.codebook_sizes)
        self.grid = grid
        self.in_proj, self.out_proj = projections(config.dim, len(levels), config.project)

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        bounded = self.grid.bounded(self.in_proj(z))  # [B, n, L]
        digits = self.grid.digits(bounded.detach())
        soft = self.grid.continuous(bounded)
        z_q = straight_through(soft, self.grid.values(digits))
        if self.training and self.config.noise_dropout:
            z_q = self._dither(soft, z_q)
        return Quantized(self.out_proj(z_q), self.grid.pack(digits), zero_loss(z))

    def _dither(self, soft: Tensor, z_q: Tensor) -> Tensor:
        """Replace rounding by noise, or by nothing, in some items (stable-codec, arXiv 2411.19842, section 3.2)."""
        chance = torch.full_like(soft[:, :1, :1], self.config.noise_dropout)
        plain, keep = torch.bernoulli(chance).bool(), torch.bernoulli(chance).bool()  # [B, 1, 1]
        noisy = soft + (torch.rand_like(soft) - 0.5) * self.grid.step
        return torch.where(keep, torch.where(plain, soft, z_q), noisy)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.grid.pack(self.grid.digits(self.grid.bounded(self.in_proj(z))))

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return self.out_proj(self.grid.values(self.grid.unpack(ids)))


def split_levels(levels: tuple[int, ...], limit: int = MAX_CODEBOOK_SIZE) -> list[tuple[int, int]]:
    """Return `(start, end)` of the channels of each id: in order, each group as long as possible with a product <= limit.

    (4,) * 16 gives 9 + 7 channels, 2^18 and 2^14 codes.
    """
    groups, start, size = [], 0, 1
    for i, v in enumerate(levels):
        if size * v > limit:
            groups.append((start, i))
            start, size = i, 1
        size *= v
    return [*groups, (start, len(levels))]


def check_levels(levels: tuple[int, ...], convention: Convention) -> None:
    """Raise `ConfigError` for levels that the convention cannot number."""
    if not levels:
        raise ConfigError("levels is empty; give the number of levels of each channel, e.g. [8, 5, 5, 5].")
    low, high = {"fsq": (3, 1000), "s3": (3, 3)}.get(convention, (2, 2**18))
    for v in levels:
        if not low <= v <= high:
            # `fsq`: with 2 levels the shift is atanh(0.999), so that almost all inputs get one level (`nemo` shifts by a tangent);
            # from 1001 the margin e(V-1)/2 reaches a half-step and rounds to a level that does not exist.
            raise ConfigError(f"levels holds {v}; convention {convention!r} allows {low} to {high} levels a channel.")
