"""Binary cross-entropy of halting logits, which predict the tokens that a picture does not need.

Source: KARL (Duggal et al. 2025, arXiv 2507.07995, section 3; ShivamDuggal4/karl @ 5c1a5693ed, `forward_executer`):

1. A first pass with few tokens gives the reconstruction error that these reach.
2. A second pass with more tokens is conditioned on this error. Target: 1 (unneeded) for the added tokens, 0 for all before them.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named, weighted_sum


@dataclass(frozen=True, kw_only=True)
class HaltingConfig(LossConfig):
    """Mean over the tokens with target 1 plus mean over those with target 0, so that both classes weigh the same.

    Attributes:
        feature: logits `[B, N]` of the tokenizer's features, high where a token is not needed; "halting.*": a sum over passes.
        target: 1 where a token is not needed, else 0, `[B, N]`; one for each pass.
    """

    kind: ClassVar[str] = "halting"
    feature: str = "halting.*"
    target: str = "unneeded.*"

    def build(self, spec: TokenizerSpec) -> Loss:
        return Halting(self)


class Halting(Loss):
    """Binary cross-entropy of halting logits; settings: `HaltingConfig`."""

    on_output = False

    def __init__(self, config: HaltingConfig) -> None:
        super().__init__()
        self.reads = (config.feature, config.target)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the loss, a scalar: the sum over passes."""
        logits, targets = (features_named(inputs, name) for name in self.reads)
        terms = []
        for y, target in zip(logits, targets, strict=True):
            gap = F.binary_cross_entropy_with_logits(y.float(), target.float(), reduction="none")  # [B, N]
            terms += [gap[side].mean() for side in (target > 0.5, target <= 0.5) if side.any()]
        return weighted_sum(terms, ())
