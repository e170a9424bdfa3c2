"""Cross-entropy of a few classes of which some are rare, weighted so that each counts about the same.

Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", arXiv 1901.05555: n samples of a class count as
(1 - beta ** n) / (1 - beta). ITER's evaluation network (arXiv 2312.05616; chaofengc/ITER @ 826bcaa3a3, basicsr/archs/iter_utils.py)
takes beta 0.9999 for the first ids, and plain cross-entropy for refined ones.

Letters: B batch, V classes, L positions.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named


@dataclass(frozen=True, kw_only=True)
class ClassBalancedConfig(LossConfig):
    """Weighted cross-entropy, mean over batch and positions; the weights follow from the numbers of each class in the batch.

    Attributes:
        feature: logits `[B, V, L]` of the tokenizer's features.
        target: the right classes, whole numbers `[B, L]`, among the tokenizer's features.
        beta: 0: every sample weighs the same; near 1: every class does.
    """

    kind: ClassVar[str] = "class_balanced"
    feature: str
    target: str
    beta: float = 0.9999

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ConfigError(f"beta is {self.beta}; allowed: from 0 to below 1.")

    def build(self, spec: TokenizerSpec) -> Loss:
        return ClassBalanced(self)


class ClassBalanced(Loss):
    """Class-balanced cross-entropy; settings: `ClassBalancedConfig`."""

    on_output = False

    def __init__(self, config: ClassBalancedConfig) -> None:
        super().__init__()
        self.config, self.reads = config, (config.feature, config.target)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the loss, a scalar."""
        logits, target = (features_named(inputs, name)[0] for name in self.reads)
        if target.is_floating_point() or target.shape != (logits.shape[0], *logits.shape[2:]):
            raise ConfigError(
                f"{self.config.target!r} is {target.dtype} {list(target.shape)}; logits {list(logits.shape)} need whole numbers [B, L]."
            )
        counts = torch.bincount(target.flatten(), minlength=logits.shape[1]).double()
        # in float64: 1 - 0.9999 is 1.0002e-4 in float32
        weights = (1 - self.config.beta) / (1 - self.config.beta ** counts.clamp(min=1))
        return F.cross_entropy(logits.float(), target, weight=(weights / weights.sum()).float())
