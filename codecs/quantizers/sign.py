"""Signs of many channels, 32 to 256 bits a position: WeTok's groups, BitDance, UniWeTok.

WeTok, arXiv 2508.05599 (zhuangshaobin/WeTok @ caa2ad7e70); BitDance tokenizer and UniWeTok
(shallowdream204/BitDance @ 4c5ea90161).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .binary import BinaryConfig, BinaryQuantizer
from .parts.bits import BitOrder


@dataclass(frozen=True, kw_only=True)
class SignConfig(BinaryConfig):
    """Settings of `Sign`; those not listed here are in `BinaryConfig`.

    WeTok: bits 32, group_bits 8, entropy "grouped" over 8. BitDance: bits 32, 128 or 256. UniWeTok: bits 128,
    activation "siglu". All of them "lsb".

    Attributes:
        bits: b, bits a position, 1 to 256.
        bit_order: as in `BinaryConfig`.
        entropy: as in `BinaryConfig`; above 20 bits only "grouped", "analytic" or "none".
        entropy_group_bits: as in `BinaryConfig`.
        activation: `siglu`: 2 sigmoid(z) - 1 before the sign, which bounds the input of the commitment and entropy terms.
    """

    kind: ClassVar[str] = "sign"

    bits: int = 128
    bit_order: BitOrder = "lsb"
    entropy: Literal["exact", "grouped", "analytic", "none"] = "grouped"
    entropy_group_bits: int = 8
    activation: Literal["none", "siglu"] = "none"

    def quantizer_class(self) -> type["Sign"]:
        return Sign


class Sign(BinaryQuantizer):
    """Values +-1; commitment is the mean of the squared distance over positions and channels.

    Differs: the published grouped entropy averages over the groups before it takes the logarithm, and so requires only
    that the groups together use all codes; here every group's mean distribution has its own entropy, summed.
    """

    config: SignConfig

    def __init__(self, config: SignConfig) -> None:
        super().__init__(config, scale=1.0)

    def activate(self, z: Tensor) -> Tensor:
        # the authors' formula, since tanh(z / 2) could round to the other side of zero
        return 2 * torch.sigmoid(z) - 1 if self.config.activation == "siglu" else z
