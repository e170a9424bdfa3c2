"""Bernoulli bits: each bit is drawn with a probability that the encoder predicts; the learned rows of the 1 bits are added.

Binary latent diffusion's autoencoder (arXiv 2304.04820) as used by ELM (Pepper-lll/LMforImageGeneration @ c2f29f0ac9)
and Instella-T2I (AMD-AGI/Instella-T2I @ 5b1a25dd65).
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .base import Quantized, Quantizer, QuantizerConfig, straight_through
from .parts.bits import BitOrder, bit_weights, group_bits, pack_bits, unpack_bits
from .parts.projection import ChannelLinear
from .parts.rows import from_rows, steady_linear, to_rows


@dataclass(frozen=True, kw_only=True)
class BernoulliConfig(QuantizerConfig):
    """Settings of `Bernoulli`; `dim` 0 without a family means `bits`.

    loss = code_weight * mean p (1 - p): small where bits are decided.

    Attributes:
        bits: b, bits a position, 1 to 256. ELM: 16, 20, 24; Instella: 64.
        group_bits: bits an id, at most 18; None: see `bits.group_bits`.
        bit_order: whether the first bit of a group is the highest (`msb`) or the lowest (`lsb`) of its id. The published
            systems have no integer ids, so this is a free choice.
        sample: draw bits in training; False: threshold at 1/2 in training too (ELM's "deter").
        temperature: p = sigmoid(logit / temperature) in the draw only.
        code_weight: weight of the loss term.
        signed: bits count as -1 and 1 in the sum over the table, and p = (tanh(logit) + 1) / 2 (ELM's `use_tanh`).
        double_sigmoid: in the loss term, p is sigmoid(sigmoid(logit)), as in ELM's code; this favours 0 bits.
            With `signed`, p there is sigmoid(tanh(logit)).
    """

    kind: ClassVar[str] = "bernoulli"
    moving: ClassVar[tuple[str, ...]] = ("temperature",)

    bits: int = 64
    group_bits: int | tuple[int, ...] | None = None
    bit_order: BitOrder = "msb"
    sample: bool = True
    temperature: float = 1.0
    code_weight: float = 0.1
    signed: bool = False
    double_sigmoid: bool = False

    def __post_init__(self) -> None:
        group_bits(self.bits, self.group_bits)

    def quantizer_class(self) -> type["Bernoulli"]:
        return Bernoulli


class Bernoulli(Quantizer):
    """logits = in_proj(z); bits ~ sigmoid(logits) in training, > 1/2 otherwise; z_q = bits @ table.

    `encode` always thresholds. The gradient to the logits is that of sigmoid(logits) in place of the bits.
    """

    config: BernoulliConfig
    weights: Tensor

    def __init__(self, config: BernoulliConfig) -> None:
        groups = group_bits(config.bits, config.group_bits)
        super().__init__(dataclasses.replace(config, dim=config.dim or config.bits), tuple(2**g for g in groups))
        self.groups = groups
        self.register_buffer("weights", bit_weights(groups, config.bit_order), persistent=False)
        self.in_proj = ChannelLinear(self.dim, config.bits)
        self.table = nn.Parameter(torch.empty(config.bits, self.dim))
        nn.init.normal_(self.table, std=0.02)

    def probabilities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and probabilities of a 1, both `[B, b, L]`."""
        logits = self.in_proj(z)
        return logits, self._probability(logits)

    def _probability(self, logits: Tensor) -> Tensor:
        return torch.tanh(logits) * 0.5 + 0.5 if self.config.signed else torch.sigmoid(logits)

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        logits, p = self.probabilities(z)
        if self.training and self.config.sample:
            bits = torch.bernoulli(self._probability(logits.detach() / self.config.temperature)) > 0
        else:
            bits = p > 0.5
        q = p
        if self.config.double_sigmoid:
            q = torch.sigmoid(2 * p - 1 if self.config.signed else p)
        spread = (q * (1 - q)).transpose(1, 2)  # [B, L, b]
        spread = spread if mask is None else spread[mask]
        code_loss = spread.mean() if spread.numel() else spread.sum()
        z_q = self._lookup(straight_through(p, bits.float()))
        ids = pack_bits(bits, self.weights, self.groups)
        return Quantized(z_q, ids, self.config.code_weight * code_loss, {"code": code_loss.detach()})

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return pack_bits(self.probabilities(z)[1] > 0.5, self.weights, self.groups)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return self._lookup(unpack_bits(ids, self.weights, self.groups).float())

    def _lookup(self, bits: Tensor) -> Tensor:
        """Sum of the table's rows, `[B, D, L]`, weighted by float bits `[B, b, L]`."""
        bits = 2 * bits - 1 if self.config.signed else bits
        return from_rows(steady_linear(to_rows(bits), self.table.t(), None), bits)
