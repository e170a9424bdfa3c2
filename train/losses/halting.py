"""Which tokens a picture needs: binary cross-entropy of halting logits.

Source: KARL (Duggal et al. 2025, arXiv 2507.07995, section 3; ShivamDuggal4/karl @ 5c1a5693ed, `forward_executer`): a first
pass with few tokens finds the error that these reach; a second one with more tokens is told this error, and what was added is to
be said unneeded, everything before it needed.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named, weighted_sum


@dataclass(frozen=True, kw_only=True)
class HaltingConfig(LossConfig):
    """Mean over the tokens that are to halt plus mean over those that are not, so that neither side outnumbers the other.

    Attributes:
        feature: logits `[B, N]` of the tokenizer's features, high where a token is not needed; "halting.*": a sum over passes.
        target: 1 where it is not, `[B, N]`; one for each pass.
    """

    kind: ClassVar[str] = "halting"
    feature: str = "halting.*"
    target: str = "unneeded.*"

    def build(self, spec: TokenizerSpec) -> Loss:
        return Halting(self)


class Halting(Loss):
    """See `HaltingConfig`."""

    on_output = False

    def __init__(self, config: HaltingConfig) -> None:
        super().__init__()
        self.reads = (config.feature, config.target)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the sum over passes."""
        logits, targets = (features_named(inputs, name) for name in self.reads)
        terms = []
        for y, target in zip(logits, targets, strict=True):
            gap = F.binary_cross_entropy_with_logits(y.float(), target.float(), reduction="none")  # [B, N]
            terms += [gap[side].mean() for side in (target > 0.5, target <= 0.5) if side.any()]
        return weighted_sum(terms, ())
