"""Distance of one of the tokenizer's outputs from another: a decoder of features against the frozen tower in its own encoder.

Sources: DualViTok (ILLUME+, arXiv 2504.01934): cosine for each position; DualCodec (arXiv 2505.13000), FocalCodec (arXiv
2502.04465) and X-codec2 (arXiv 2502.04128): mean square distance. Like `distillation`, but the teacher is part of the tokenizer,
which has run already.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from ...codecs.config import ConfigError, nearest
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs
from .distillation import distance


@dataclass(frozen=True, kw_only=True)
class OwnFeatureConfig(LossConfig):
    """Compare two of `Reconstruction.features`, both `[B, D, L]`; the target gets no gradient.

    Attributes:
        feature, target: their names.
        along: as in `DistillationConfig`.
        project: width D of the target when a linear layer is to be learned in between; 0: widths agree already.
    """

    kind: ClassVar[str] = "own_feature"
    feature: str = "semantic"
    target: str = "semantic_target"
    along: Literal["frames", "channels", "mse"] = "frames"
    project: int = 0

    def build(self, spec: TokenizerSpec) -> Loss:
        return OwnFeature(self)


class OwnFeature(Loss):
    """See `OwnFeatureConfig`."""

    on_output = False

    def __init__(self, config: OwnFeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.head: nn.Module = nn.Identity()

    def prepare(self, widths: dict[str, int]) -> None:
        """Make the projection; `widths` gives the number of channels of each feature by name."""
        if self.config.project:
            if self.config.feature not in widths:
                raise ConfigError(f"the tokenizer has no feature {self.config.feature!r}.{nearest(self.config.feature, list(widths))}")
            self.head = nn.Conv1d(widths[self.config.feature], self.config.project, 1)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean distance."""
        features = inputs.out.features
        for name in (self.config.feature, self.config.target):
            if name not in features:
                raise ConfigError(f"the tokenizer has no feature {name!r}.{nearest(name, list(features))}")
        ours, target = self.head(features[self.config.feature].float()), features[self.config.target].float()
        if ours.shape != target.shape:
            raise ConfigError(
                f"{self.config.feature!r} is {list(ours.shape)}, {self.config.target!r} {list(target.shape)}; "
                "the tokenizer's settings must make them equal."
            )
        return distance(ours, target.detach(), self.config.along)
