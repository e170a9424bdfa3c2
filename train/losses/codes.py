"""Cross-entropy of predicted codes: a decoder predicts the ids that another, frozen tokenizer computes for the picture.

Sources: TiTok's first stage ("proxy codes" of a MaskGIT-VQGAN, arXiv 2406.07550, section 3.3), One-D-Piece's (arXiv
2501.10064); latent distillation in ALIT (arXiv 2411.02393) and KARL (arXiv 2507.07995), at every roll-out or pass.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named, weighted_sum


@dataclass(frozen=True, kw_only=True)
class CodesConfig(LossConfig):
    """`-log softmax(logits)[id]`, mean over positions and batch.

    Attributes:
        feature: name of the logits `[B, V, ...]` among the tokenizer's features. "logits.*" stands for `logits.0`,
            `logits.1`, ..., whose losses are summed.
        teacher: name under `teachers:` of one that computes ids (kind `tokenizer`); None: the ids are a feature of the tokenizer.
        target: name of the ids `[B, L]` among the tokenizer's features; used without a teacher.
        weights: of the terms of the sum, in their order; the last one is also that of all further terms. Empty: 1 each.
        item_weights: name of a feature `[B, 1]` or `[B, L]` that the loss of each position is multiplied with (ITER: the share of
            masked positions of a picture); "": 1 everywhere.
        least_weight: weights of 0 count as this, those of 1 as 1, and between them evenly (SFTok: 0.1 for codes that are shown).
        mean: over all positions ("plain"), or divided by the sum of the weights ("weighted").
        smoothing: share of the target's probability that is spread evenly over all V ids (ALIT, KARL: 0.1).
    """

    kind: ClassVar[str] = "codes"
    feature: str = "logits"
    teacher: str | None = None
    target: str = "ids"
    weights: tuple[float, ...] = ()
    item_weights: str = ""
    least_weight: float = 0.0
    mean: Literal["plain", "weighted"] = "plain"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"smoothing is {self.smoothing}; it is a share of the target's probability, at least 0 and below 1.")
        if not 0 <= self.least_weight <= 1:
            raise ConfigError(f"least_weight is {self.least_weight}; it is a share of the weight of other positions, 0 to 1.")

    def build(self, spec: TokenizerSpec) -> Loss:
        return Codes(self)


class Codes(Loss):
    """Cross-entropy of predicted ids; settings: `CodesConfig`."""

    on_output = False

    def __init__(self, config: CodesConfig) -> None:
        super().__init__()
        self.config = config
        target = "" if config.teacher else config.target
        self.reads = tuple(name for name in (config.feature, target, config.item_weights) if name)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean cross-entropy, a scalar; of several logits the weighted sum."""
        logits = [y.float().flatten(2) for y in features_named(inputs, self.config.feature)]  # [B, V, L]
        teacher = self.config.teacher
        ids = inputs.targets[teacher] if teacher else features_named(inputs, self.config.target)[0]
        ids = ids.flatten(1)
        if ids.shape[1] != logits[0].shape[2] or ids.is_floating_point() or int(ids.max()) >= logits[0].shape[1]:
            raise ConfigError(
                f"{self.config.feature!r} predicts {logits[0].shape[2]} ids below {logits[0].shape[1]}; "
                f"{teacher or self.config.target!r} gives {ids.dtype} {list(ids.shape)}. Grids and vocabularies must agree."
            )
        terms = [F.cross_entropy(y, ids, label_smoothing=self.config.smoothing, reduction="none") for y in logits]  # [B, L] each
        if name := self.config.item_weights:
            weight, least = features_named(inputs, name)[0].detach().float().expand_as(ids), self.config.least_weight
            weight = least + (1 - least) * weight
            share = weight.mean() if self.config.mean == "weighted" else 1
            terms = [term * weight / share for term in terms]
        return weighted_sum([term.mean() for term in terms], self.config.weights)
