"""The quantizer's own loss: commitment, codebook and entropy terms, weighted among themselves by the quantizer."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs


@dataclass(frozen=True, kw_only=True)
class QuantizerLossConfig(LossConfig):
    """Settings of `QuantizerLoss`: its `weight` multiplies the weights that the quantizer's own terms have."""

    kind: ClassVar[str] = "quantizer"

    def build(self, spec: TokenizerSpec) -> Loss:
        return QuantizerLoss()


class QuantizerLoss(Loss):
    """Loss that the quantizer computed itself, `Quantized.loss`: commitment, entropy and others."""

    on_output = False

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the scalar that the quantizer computed in the forward pass, float32."""
        return inputs.out.quantized.loss.float()
