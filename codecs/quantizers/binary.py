"""The base of `lfq`, `bsq` and `sign`: one bit a channel from its sign, with commitment and entropy terms."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through
from .parts.bits import MAX_ENTROPY_BITS, BitOrder, bit_entropy, bit_weights, group_bits, mean_code_entropy, pack_bits, unpack_bits
from .parts.projection import projections


@dataclass(frozen=True, kw_only=True)
class BinaryConfig(QuantizerConfig):
    """Settings common to `lfq`, `bsq` and `sign`; `dim` 0 without a family means `bits`.

    loss = commitment_weight * commitment + entropy_weight * (position_entropy - diversity_gamma * code_entropy)

    position_entropy: mean over positions of the entropy of the soft assignment; small where bits are decided.
    code_entropy: entropy of the mean soft assignment of the valid positions (of this rank); large where all codes are
    used. Both in nats; the formulas are in `bits.py`.

    Attributes:
        bits: b, bits a position, 1 to 256.
        group_bits: bits an id, at most 18; None: see `bits.group_bits`.
        bit_order: whether the first channel of a group is the highest (`msb`) or the lowest bit (`lsb`) of its id.
        project: linear maps D -> b and back; None: only where D differs from b.
        entropy: how code_entropy is formed. `exact`: over all 2^b codes (b <= 20); `grouped`: the sum over groups of
            `entropy_group_bits` channels; `analytic`: the sum over single bits; `none`: no entropy terms at all.
            position_entropy is exact in all of them.
        entropy_group_bits: g of `grouped` (BSQ-ViT 9, WeTok 8).
        entropy_weight: weight of both entropy terms.
        entropy_temperature: T of the soft assignment softmax(2 z.c / T); published LFQ models 0.01, BSQ 1.
        diversity_gamma: weight of code_entropy relative to position_entropy.
        commitment_weight: weight of the squared distance between latent and code.
    """

    moving: ClassVar[tuple[str, ...]] = ("entropy_weight", "entropy_temperature", "diversity_gamma")

    bits: int = 18
    group_bits: int | tuple[int, ...] | None = None
    bit_order: BitOrder = "msb"
    project: bool | None = None
    entropy: Literal["exact", "grouped", "analytic", "none"] = "exact"
    entropy_group_bits: int = 9
    entropy_weight: float = 0.1
    entropy_temperature: float = 0.01
    diversity_gamma: float = 1.0
    commitment_weight: float = 0.25

    def __post_init__(self) -> None:
        group_bits(self.bits, self.group_bits)
        if not 1 <= self.entropy_group <= MAX_ENTROPY_BITS:
            raise ConfigError(
                f"entropy {self.entropy!r} over {self.entropy_group} bits; allowed are 1 to {MAX_ENTROPY_BITS}, since "
                "it needs 2^bits numbers. Set entropy to 'grouped' with entropy_group_bits 9, or to 'analytic'."
            )
        if self.entropy_temperature <= 0:
            raise ConfigError(f"entropy_temperature is {self.entropy_temperature}; it must be positive.")

    @property
    def entropy_group(self) -> int:
        """Channels in one group of code_entropy."""
        return {"exact": self.bits, "grouped": self.entropy_group_bits}.get(self.entropy, 1)


class BinaryQuantizer(Quantizer):
    """Channel > 0 is a 1 bit of value +scale, otherwise a 0 bit of value -scale."""

    config: BinaryConfig
    weights: Tensor

    def __init__(self, config: BinaryConfig, *, scale: float) -> None:
        config = dataclasses.replace(config, dim=config.dim or config.bits)
        groups = group_bits(config.bits, config.group_bits)
        super().__init__(config, tuple(2**g for g in groups))
        self.groups = groups
        self.scale = scale
        self.register_buffer("weights", bit_weights(groups, config.bit_order), persistent=False)
        self.in_proj, self.out_proj = projections(config.dim, config.bits, config.project)

    def activate(self, z: Tensor) -> Tensor:
        """Transform projected latents `[B, b, L]` before signs and loss are computed; here the identity."""
        return z

    def commitment(self, distance: Tensor) -> Tensor:
        """Reduce squared distances `[N, b]` of N positions to a scalar, here their mean."""
        return distance.mean()

    def signs(self, z: Tensor) -> Tensor:
        """Bits of projected latents, both `[B, b, L]`; training and `encode` both use it."""
        return self.activate(z) > 0

    def losses(self, u: Tensor, code: Tensor, mask: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the terms and the terms themselves, detached.

        Args:
            u: output of `activate`, `[B, b, L]`.
            code: the codes +-scale of its signs, of the same shape.
            mask: bool `[B, L]`, valid positions.
        """
        c, loss, metrics = self.config, u.new_zeros(()), {}
        rows = _valid_rows(u, mask)  # [N, b]
        if len(rows) == 0:
            return rows.sum(), {}
        if c.commitment_weight:
            commitment = self.commitment((rows - _valid_rows(code, mask)).square())
            loss = loss + c.commitment_weight * commitment
            metrics["commitment"] = commitment.detach()
        if c.entropy != "none" and c.entropy_weight:
            logits = rows * (4 * self.scale / c.entropy_temperature)
            position = bit_entropy(logits).sum(1).mean()
            codes = mean_code_entropy(logits, c.entropy_group)
            loss = loss + c.entropy_weight * (position - c.diversity_gamma * codes)
            metrics |= {"position_entropy": position.detach(), "code_entropy": codes.detach()}
        return loss, metrics

    def values(self, bits: Tensor) -> Tensor:
        """Bits `[B, b, L]` to codes, float32 of the same shape."""
        return (2 * bits.float() - 1) * self.scale

    def pack(self, bits: Tensor) -> Tensor:
        """Bits `[B, b, L]` to ids `[B, K, L]`."""
        return pack_bits(bits, self.weights, self.groups)

    def unpack(self, ids: Tensor) -> Tensor:
        """Ids `[B, K, L]` to bits `[B, b, L]`."""
        return unpack_bits(ids, self.weights, self.groups)

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        z = self.in_proj(z)
        u, bits = self.activate(z), self.signs(z)
        code = self.values(bits)
        loss, metrics = self.losses(u, code, mask)
        return Quantized(self.out_proj(straight_through(u, code)), self.pack(bits), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.pack(self.signs(self.in_proj(z)))

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return self.out_proj(self.values(self.unpack(ids)))


def _valid_rows(x: Tensor, mask: Tensor | None) -> Tensor:
    rows = x.transpose(1, 2)  # [B, L, b]
    return rows.flatten(0, 1) if mask is None else rows[mask]
