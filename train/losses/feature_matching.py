"""L1 distance of the discriminators' inner features of real and reconstructed media.

Sources: Larsen et al. 2015 (arXiv 1512.09300), MelGAN (arXiv 1910.06711, eq. 4); the relative form is EnCodec's
(arXiv 2210.13438, eq. 3).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs


@dataclass(frozen=True, kw_only=True)
class FeatureMatchingConfig(LossConfig):
    """Sum or mean over feature maps of their mean L1 distances.

    Attributes:
        relative: divide each distance by the mean magnitude of the real features (EnCodec).
        layers: "sum" over all maps of all heads (DAC, HiFi-GAN) or "mean" (EnCodec).
    """

    kind: ClassVar[str] = "feature_matching"
    needs_discriminators: ClassVar[bool] = True
    relative: bool = False
    layers: Literal["sum", "mean"] = "mean"

    def build(self, spec: TokenizerSpec) -> Loss:
        return FeatureMatching(self)


class FeatureMatching(Loss):
    """L1 distance of the discriminators' features; settings: `FeatureMatchingConfig`."""

    adversarial = True

    def __init__(self, config: FeatureMatchingConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the distance, a scalar; the gradient flows to the reconstruction's features only.

        Raises:
            ValueError: a head that gives no features.
        """
        if without := [i for i, head in enumerate(inputs.fake) if not head.features]:
            raise ValueError(
                f"feature_matching compares the features of all heads, but of {len(inputs.fake)} heads number {without} (from 0) "
                "gives none. Its discriminator must return them with the logits: Judgement(logits, features); else take the loss out."
            )
        terms = []
        for real, fake in zip(inputs.real, inputs.fake, strict=True):
            for r, f in zip(real.features, fake.features, strict=True):
                gap = (f.float() - r.float()).abs().mean()
                terms.append(gap / r.float().abs().mean().clamp(min=1e-8) if self.config.relative else gap)
        if not terms:
            return inputs.x_hat.sum() * 0
        total = torch.stack(terms).sum()
        return total / len(terms) if self.config.layers == "mean" else total
