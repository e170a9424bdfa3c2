"""Distance between two of the tokenizer's outputs: decoded features against those of the frozen network in its encoder,
a predicted velocity or noise against the true one.

Sources: DualViTok (ILLUME+, arXiv 2504.01934): cosine for each position; DualCodec (arXiv 2505.13000), FocalCodec (arXiv
2502.04465) and X-codec2 (arXiv 2502.04128): mean square distance. Rectified flow (FlexTok, arXiv 2502.13967) and diffusion
(DiVAE, arXiv 2206.00386): mean square distance of `velocity` or `prediction`. Like `distillation`, but the target is part of
the tokenizer, which has run already.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from ...codecs.config import ConfigError, nearest
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named, weighted_sum
from .distillation import distance


@dataclass(frozen=True, kw_only=True)
class OwnFeatureConfig(LossConfig):
    """Compare two of `Reconstruction.features` of one shape; the target gets no gradient.

    They are `[B, D, L]`; for "mse", "l1" and "smooth_l1" of any shape.

    Attributes:
        feature, target: their names. "code.*" stands for `code.0`, `code.1`, ..., whose distances are summed; the target is
            then one feature for all, or one for each.
        along: as in `DistillationConfig`.
        project: width D of the target when a linear layer is to be learned in between; 0: widths agree already.
        weights: of the terms of the sum, in their order; the last one is also that of all further terms. Empty: 1 each.
    """

    kind: ClassVar[str] = "own_feature"
    feature: str = "semantic"
    target: str = "semantic_target"
    along: Literal["frames", "channels", "mse", "l1", "smooth_l1"] = "frames"
    project: int = 0
    weights: tuple[float, ...] = ()

    def build(self, spec: TokenizerSpec) -> Loss:
        return OwnFeature(self)


class OwnFeature(Loss):
    """Distance between two of the tokenizer's features; settings: `OwnFeatureConfig`."""

    on_output = False

    def __init__(self, config: OwnFeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.reads = (config.feature, config.target)
        self.head: nn.Module = nn.Identity()

    def prepare(self, widths: dict[str, int]) -> None:
        """Make the projection; `widths` gives the number of channels of each feature by name."""
        if self.config.project:
            if self.config.feature not in widths:
                raise ConfigError(f"the tokenizer has no feature {self.config.feature!r}.{nearest(self.config.feature, list(widths))}")
            self.head = nn.Conv1d(widths[self.config.feature], self.config.project, 1)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean distance, a scalar; of several features the weighted sum."""
        ours, targets = (features_named(inputs, name) for name in self.reads)
        targets = targets * len(ours) if len(targets) == 1 else targets
        if len(targets) != len(ours):
            raise ConfigError(f"{self.config.feature!r} are {len(ours)} features, {self.config.target!r} {len(targets)}.")
        terms = [self._distance(y, target) for y, target in zip(ours, targets, strict=True)]
        return weighted_sum(terms, self.config.weights)

    def _distance(self, ours: Tensor, target: Tensor) -> Tensor:
        ours, target = self.head(ours.float()), target.float()
        if ours.shape != target.shape:
            raise ConfigError(
                f"{self.config.feature!r} is {list(ours.shape)}, {self.config.target!r} {list(target.shape)}; "
                "the tokenizer's settings must make them equal."
            )
        return distance(ours, target.detach(), self.config.along)
