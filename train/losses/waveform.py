"""L1 or L2 distance of waveforms."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs


@dataclass(frozen=True, kw_only=True)
class WaveformLossConfig(LossConfig):
    """Mean of `|x - x_hat|` (l1) or of its square (l2) over all samples in -1..1."""

    kind: ClassVar[str] = "waveform"
    distance: Literal["l1", "l2"] = "l1"

    def build(self, spec: TokenizerSpec) -> Loss:
        return PlainDistance(self.distance)


class PlainDistance(Loss):
    """Mean L1 or L2 distance of single values: samples of waveforms, or pixels (`pixel`)."""

    def __init__(self, distance: str) -> None:
        super().__init__()
        self.distance = distance

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over batch and values, a scalar."""
        gap = inputs.x_hat - inputs.x
        return gap.abs().mean() if self.distance == "l1" else gap.square().mean()
