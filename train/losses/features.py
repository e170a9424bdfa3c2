"""Distance between features or maps and their reconstruction.

Source: 4M (arXiv 2312.06647, 2406.09406; apple/ml-4m @ cda590faa3, run_training_vqvae.py `compute_reconst_loss`): smooth L1 for feature
maps and poses, cosine for global features.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import LatentSpec, TokenizerSpec
from .base import Loss, LossConfig, LossInputs


@dataclass(frozen=True, kw_only=True)
class FeatureLossConfig(LossConfig):
    """Mean distance of the values of `x` and `x_hat`, `[B, C, ...]`.

    Attributes:
        distance: "l1"; "l2": squared; "smooth_l1": half the square where it is below 1, beyond that the difference less a half;
            "cosine": one minus the cosine of the C values at each position.
    """

    kind: ClassVar[str] = "features"
    distance: Literal["l1", "l2", "smooth_l1", "cosine"] = "smooth_l1"

    def build(self, spec: TokenizerSpec) -> Loss:
        if not isinstance(spec, LatentSpec):
            raise ConfigError(f"it compares features or maps, but the tokenizer's modality is {spec.modality!r}.")
        return FeatureLoss(self.distance)


class FeatureLoss(Loss):
    """Distance of features or maps; settings: `FeatureLossConfig`."""

    def __init__(self, distance: str) -> None:
        super().__init__()
        self.distance = distance

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over batch and values (of "cosine", positions), a scalar."""
        x, x_hat = inputs.x, inputs.x_hat
        if self.distance == "cosine":
            return 1 - F.cosine_similarity(x_hat, x, dim=1).mean()
        if self.distance == "smooth_l1":
            return F.smooth_l1_loss(x_hat, x)
        return F.l1_loss(x_hat, x) if self.distance == "l1" else F.mse_loss(x_hat, x)
