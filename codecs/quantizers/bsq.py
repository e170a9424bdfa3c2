"""Binary spherical quantization: the latent is put on the unit sphere, then each channel's sign is a bit.

Zhao et al. 2024, arXiv 2406.07548. Checked against zhaoyue-zephyrus/bsq-vit @ 37d212d2b4 (MIT) and, for audio,
lucadellalib/focalcodec @ 912b7f2c0c (Apache-2.0, arXiv 2502.04465).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from .binary import BinaryConfig, BinaryQuantizer


@dataclass(frozen=True, kw_only=True)
class BSQConfig(BinaryConfig):
    """Settings of `BSQ`; those not listed here are in `BinaryConfig`.

    BSQ-ViT: bits 18 or 36, bit_order "msb", group 9, temperature 1, entropy "grouped" or "analytic", entropy_weight 1.
    Its config states a commitment weight of 0, but the base class of its model resets it to 0.25.
    FocalCodec: bits 13 (11 to 16), bit_order "msb", entropy_weight 0.1.

    Attributes:
        bits: b, bits a position, 1 to 256.
        entropy: as in `BinaryConfig`.
        entropy_temperature: as in `BinaryConfig`.
        normalize: scale each position of `z` to length 1 first; False where the encoder has done it.
    """

    kind: ClassVar[str] = "bsq"

    bits: int = 36
    entropy: Literal["exact", "grouped", "analytic", "none"] = "grouped"
    entropy_temperature: float = 1.0
    normalize: bool = True

    def quantizer_class(self) -> type["BSQ"]:
        return BSQ


class BSQ(BinaryQuantizer):
    """Values +-1/sqrt(b), so that every code has length 1; commitment: squared distance, summed over channels."""

    config: BSQConfig

    def __init__(self, config: BSQConfig) -> None:
        super().__init__(config, scale=config.bits**-0.5)

    def activate(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=1) if self.config.normalize else z

    def signs(self, z: Tensor) -> Tensor:
        return z > 0  # a length does not change a sign

    def commitment(self, distance: Tensor) -> Tensor:
        return distance.sum(1).mean()
