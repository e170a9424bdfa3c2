"""L1 distance of the discriminators' inner features of real and reconstructed media.

Sources: Larsen et al. 2015 (arXiv 1512.09300), MelGAN (arXiv 1910.06711, eq. 4); the relative form is EnCodec's
(arXiv 2210.13438, eq. 3).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Judgement, Loss, LossConfig, LossInputs, of_discriminators


@dataclass(frozen=True, kw_only=True)
class FeatureMatchingConfig(LossConfig):
    """Sum or mean over feature maps of their mean L1 distances.

    Attributes:
        relative: divide each distance by the mean magnitude of the real features (EnCodec).
        layers: "sum" over all maps of all heads (DAC, HiFi-GAN), "mean" (EnCodec), or "heads": the mean over heads of the sum over
            their maps (Vocos).
        discriminators: names of those whose features are compared; empty: all.
        skip: number of maps of each head, from its input on, that are left out (Vocos: 1 of the periods').
        logits: compare the logits too (HiFi-GAN's code).
    """

    kind: ClassVar[str] = "feature_matching"
    needs_discriminators: ClassVar[bool] = True
    relative: bool = False
    layers: Literal["sum", "mean", "heads"] = "mean"
    discriminators: tuple[str, ...] = ()
    skip: int = 0
    logits: bool = False

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
        c = self.config
        heads = [of_discriminators(judgements, c.discriminators) for judgements in (inputs.real, inputs.fake)]
        if without := [i for i, head in enumerate(heads[1]) if len(head.features) <= c.skip]:
            raise ValueError(
                f"feature_matching compares the features of all heads, but of {len(heads[1])} heads number {without} (from 0) "
                "gives none. Its discriminator must return them with the logits: Judgement(logits, features); else take the loss out, "
                "or lower its `skip`."
            )
        totals, count = [], 0
        for real, fake in zip(*heads, strict=True):
            terms = [self._gap(r.float(), f.float()) for r, f in zip(self._maps(real), self._maps(fake), strict=True)]
            totals.append(torch.stack(terms).sum())
            count += len(terms)
        if not totals:
            return inputs.x_hat.sum() * 0
        return torch.stack(totals).sum() / {"sum": 1, "mean": count, "heads": len(totals)}[c.layers]

    def _maps(self, judgement: Judgement) -> tuple[Tensor, ...]:
        maps = judgement.features[self.config.skip :]
        return (*maps, judgement.logits) if self.config.logits else maps

    def _gap(self, real: Tensor, fake: Tensor) -> Tensor:
        gap = (fake - real).abs().mean()
        return gap / real.abs().mean().clamp(min=1e-8) if self.config.relative else gap
