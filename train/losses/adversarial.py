"""Adversarial (GAN) loss: hinge or least squares, with LeCam regularisation as an option.

Sources: hinge (Lim & Ye 2017, arXiv 1705.02894; VQGAN, EnCodec), least squares (Mao et al. 2016, arXiv 1611.04076;
HiFi-GAN, DAC), LeCam (Tseng et al. 2021, arXiv 2104.03310; used by MaskGIT and TiTok).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Judgement, Loss, LossConfig, LossInputs


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(LossConfig):
    """With logits r of real and f of reconstructed media, for each head:

        hinge           discriminator  mean(max(0, 1 - r)) + mean(max(0, 1 + f))     tokenizer  -mean(f)
        least_squares   discriminator  mean((1 - r)^2) + mean(f^2)                   tokenizer  mean((1 - f)^2)

    Attributes:
        game: "hinge" or "least_squares".
        softplus: the tokenizer's loss is `mean(softplus(-m))` instead, m being the mean logit of each item (with a hinge for the
            discriminator: Open-MAGVIT2, IBQ, WeTok).
        heads: "sum" over heads (DAC, HiFi-GAN) or "mean" (EnCodec; the same for one head).
        lecam_weight: of the LeCam term, which pulls r towards the running mean of f and f towards that of r; 0: off. TiTok: 0.001.
        lecam_decay: of the running means, which begin at 0 and are updated after each step (as in 1d-tokenizer).
    """

    kind: ClassVar[str] = "adversarial"
    needs_discriminators: ClassVar[bool] = True
    trains_discriminators: ClassVar[bool] = True
    game: Literal["hinge", "least_squares"] = "hinge"
    softplus: bool = False
    heads: Literal["sum", "mean"] = "mean"
    lecam_weight: float = 0.0
    lecam_decay: float = 0.999

    def build(self, spec: TokenizerSpec) -> Loss:
        return Adversarial(self)


class Adversarial(Loss):
    """Adversarial losses of the tokenizer (`forward`) and of the discriminators (`judge_loss`); formulas: `AdversarialConfig`."""

    adversarial = True
    mean_real: Tensor
    mean_fake: Tensor

    def __init__(self, config: AdversarialConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean_real", torch.zeros(()))
        self.register_buffer("mean_fake", torch.zeros(()))
        self._seen: list[Tensor] = []  # means of real and fake logits, [2], of each part of the step

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the loss of the tokenizer, a scalar."""
        fakes = [j.logits.float() for j in inputs.fake]
        if self.config.softplus:
            return self._over_heads([F.softplus(-f.flatten(1).mean(1)).mean() for f in fakes])
        if self.config.game == "hinge":
            return self._over_heads([-f.mean() for f in fakes])
        return self._over_heads([(1 - f).square().mean() for f in fakes])

    def judge_loss(self, real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
        """Return the loss of the discriminators, a scalar, from their outputs for real and reconstructed media."""
        pairs = [(r.logits.float(), f.logits.float()) for r, f in zip(real, fake, strict=True)]
        if self.config.game == "hinge":
            terms = [(1 - r).relu().mean() + (1 + f).relu().mean() for r, f in pairs]
        else:
            terms = [(1 - r).square().mean() + f.square().mean() for r, f in pairs]
        loss = self._over_heads(terms)
        return loss + self.config.lecam_weight * self._lecam(pairs) if self.config.lecam_weight else loss

    def _over_heads(self, terms: list[Tensor]) -> Tensor:
        total = torch.stack(terms).sum()
        return total / len(terms) if self.config.heads == "mean" else total

    def _lecam(self, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """`E|max(0, r - mean_f)|^2 + E|max(0, mean_r - f)|^2` (eq. 3), mean over heads, with running means of the earlier steps."""
        mean_r = torch.stack([r.mean() for r, _ in pairs]).mean()
        mean_f = torch.stack([f.mean() for _, f in pairs]).mean()
        self._seen.append(torch.stack([mean_r, mean_f]).detach())
        old_real, old_fake = self.mean_real.clone(), self.mean_fake.clone()
        terms = [(r - old_fake).relu().square().mean() + (old_real - f).relu().square().mean() for r, f in pairs]
        return torch.stack(terms).mean()

    @torch.no_grad()
    def end_step(self, *, moved: bool = True) -> None:
        """Update LeCam's running means with the mean logits of the step, over all its parts and processes."""
        seen, self._seen = self._seen, []
        if not moved or not seen:
            return
        now = torch.stack(seen).mean(0)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(now)
            now /= torch.distributed.get_world_size()
        self.mean_real.lerp_(now[0], 1 - self.config.lecam_decay)
        self.mean_fake.lerp_(now[1], 1 - self.config.lecam_decay)
