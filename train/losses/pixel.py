"""L1 or L2 distance of pixels."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig
from .waveform import PlainDistance


@dataclass(frozen=True, kw_only=True)
class PixelConfig(LossConfig):
    """Mean of `|x - x_hat|` (l1) or of its square (l2), pixels in the tokenizer's value range (mostly -1..1)."""

    kind: ClassVar[str] = "pixel"
    distance: Literal["l1", "l2"] = "l1"

    def build(self, spec: TokenizerSpec) -> Loss:
        return PlainDistance(self.distance)
