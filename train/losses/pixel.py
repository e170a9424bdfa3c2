"""L1 or L2 distance of pixels, or the logarithm of each picture's, which PSNR weighs."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs
from .waveform import PlainDistance


@dataclass(frozen=True, kw_only=True)
class PixelConfig(LossConfig):
    """Mean of `|x - x_hat|` (l1) or of its square (l2), pixels in the tokenizer's value range (mostly -1..1).

    Attributes:
        distance: "l1", "l2", or "log_l2": the mean over the pictures of `log(1 + l2 / floor)`, l2 of one picture. As in PSNR, a tenth
            less is worth the same in a smooth picture and in a busy one, for which "l2" spends nearly all.
        floor: of "log_l2": well below it a smaller distance gains little. 1e-4 is 46 dB of PSNR for pixels in -1..1.
    """

    kind: ClassVar[str] = "pixel"
    distance: Literal["l1", "l2", "log_l2"] = "l1"
    floor: float = 1e-4

    def __post_init__(self) -> None:
        if not self.floor > 0:
            raise ConfigError(f"pixel.floor is {self.floor}; allowed: above 0.")

    def build(self, spec: TokenizerSpec) -> Loss:
        return LogDistance(self.floor) if self.distance == "log_l2" else PlainDistance(self.distance)


class LogDistance(Loss):
    """Mean over pictures of the logarithm of their mean squared difference; see `PixelConfig`."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over the batch, a scalar."""
        each = (inputs.x_hat - inputs.x).square().flatten(1).mean(1)
        return (each / self.floor).log1p().mean()
