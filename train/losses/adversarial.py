"""Adversarial (GAN) loss: hinge, least squares or softplus, with LeCam, R1 and consistency terms as options.

Sources: hinge (Lim & Ye 2017, arXiv 1705.02894; VQGAN, EnCodec), least squares (Mao et al. 2016, arXiv 1611.04076;
HiFi-GAN, DAC), softplus (Goodfellow et al. 2014, arXiv 1406.2661, non-saturating; StyleGAN, BSQ-ViT), LeCam (Tseng et al. 2021,
arXiv 2104.03310; used by MaskGIT and TiTok), R1 (Mescheder et al. 2018, arXiv 1801.04406, eq. 9), lazily (Karras et al. 2020,
arXiv 1912.04958, section 2.2), consistency (Zhao et al. 2020, arXiv 2002.04724; UniTok).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Judge, Judgement, Loss, LossConfig, LossInputs, of_discriminators


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(LossConfig):
    """With logits r of real and f of reconstructed media, for each head:

        hinge           discriminator  mean(max(0, 1 - r)) + mean(max(0, 1 + f))     tokenizer  -mean(f)
        least_squares   discriminator  mean((1 - r)^2) + mean(f^2)                   tokenizer  mean((1 - f)^2)
        softplus        discriminator  mean(softplus(-r)) + mean(softplus(f))        tokenizer  mean(softplus(-f))

    Attributes:
        game: "hinge", "least_squares" or "softplus".
        tokenizer: its loss: "game": that of the table; "clipped": mean(max(0, 1 - f)) (Vocos, FocalCodec); "softplus_of_mean":
            mean(softplus(-m)), m being the mean logit of each item (with a hinge: Open-MAGVIT2, IBQ, WeTok); "softplus":
            mean(softplus(-f)) (with a hinge: VFMTok).
        slope: of the hinges below zero: a leaky ReLU (DualToken: 0.01).
        discriminators: names of those that this loss trains and follows; empty: all. With several adversarial losses each set can
            have its own game.
        heads: "sum" over heads (DAC, HiFi-GAN) or "mean" (EnCodec; the same for one head).
        lecam_weight: of the LeCam term, which pulls r towards the running mean of f and f towards that of r; 0: off. TiTok: 0.001.
        lecam_decay: of the running means, which begin at 0 and are updated after each step (as in 1d-tokenizer).
        lecam_of: each of the "logits" (eq. 3), or their "mean" (1d-tokenizer).
        r1_weight: half of it times the squared norm of the gradient of the logits of real media at these media; 0: off.
        r1_every: R1 counts at each such update of the discriminators, as many times as much.
        consistency_weight: of the squared difference of the logits when the discriminators judge the same media, real and
            reconstructed, a second time; for discriminators that augment what they see.
    """

    kind: ClassVar[str] = "adversarial"
    needs_discriminators: ClassVar[bool] = True
    trains_discriminators: ClassVar[bool] = True
    game: Literal["hinge", "least_squares", "softplus"] = "hinge"
    tokenizer: Literal["game", "clipped", "softplus", "softplus_of_mean"] = "game"
    slope: float = 0.0
    discriminators: tuple[str, ...] = ()
    heads: Literal["sum", "mean"] = "mean"
    lecam_weight: float = 0.0
    lecam_decay: float = 0.999
    lecam_of: Literal["logits", "mean"] = "logits"
    r1_weight: float = 0.0
    r1_every: int = 16
    consistency_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.r1_every < 1:
            raise ConfigError(f"r1_every is {self.r1_every}; it must be at least 1.")

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
        return self._over_heads([self._tokenizer(f) for f in self._logits(inputs.fake)])

    def judge_loss(self, real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
        """Return the loss of the discriminators, a scalar, from their outputs for real and reconstructed media."""
        pairs = list(zip(self._logits(real), self._logits(fake), strict=True))
        loss = self._over_heads([self._discriminator(r, f) for r, f in pairs])
        return loss + self.config.lecam_weight * self._lecam(pairs) if self.config.lecam_weight else loss

    def judge_penalty(
        self, judge: Judge, x: Tensor, x_hat: Tensor, real: Sequence[Judgement], fake: Sequence[Judgement], update: int
    ) -> Tensor | None:
        """Return R1 and consistency, weighted, where they are due; arguments as in `Loss.judge_penalty`."""
        c, terms = self.config, []
        if c.r1_weight and (update + 1) % c.r1_every == 0:
            terms.append(c.r1_weight / 2 * c.r1_every * self._r1(judge, x))
        if c.consistency_weight:
            both = ((judge(x), real), (judge(x_hat), fake))
            gaps = [(a - b).square().mean() for again, first in both for a, b in zip(*map(self._logits, (again, first)), strict=True)]
            terms.append(c.consistency_weight * 2 * torch.stack(gaps).mean())
        return torch.stack(terms).sum() if terms else None

    def _logits(self, judgements: Sequence[Judgement]) -> list[Tensor]:
        return [j.logits.float() for j in of_discriminators(judgements, self.config.discriminators)]

    def _tokenizer(self, f: Tensor) -> Tensor:
        c = self.config
        if c.tokenizer == "softplus_of_mean":
            return F.softplus(-f.flatten(1).mean(1)).mean()
        if c.tokenizer == "softplus":
            return F.softplus(-f).mean()
        if c.tokenizer == "clipped":
            return self._hinge(1 - f)
        return {"hinge": lambda: -f, "least_squares": lambda: (1 - f).square(), "softplus": lambda: F.softplus(-f)}[c.game]().mean()

    def _discriminator(self, r: Tensor, f: Tensor) -> Tensor:
        if self.config.game == "hinge":
            return self._hinge(1 - r) + self._hinge(1 + f)
        if self.config.game == "softplus":
            return F.softplus(-r).mean() + F.softplus(f).mean()
        return (1 - r).square().mean() + f.square().mean()

    def _hinge(self, gap: Tensor) -> Tensor:
        return F.leaky_relu(gap, self.config.slope).mean()

    def _over_heads(self, terms: list[Tensor]) -> Tensor:
        total = torch.stack(terms).sum()
        return total / len(terms) if self.config.heads == "mean" else total

    def _r1(self, judge: Judge, x: Tensor) -> Tensor:
        """Mean over items of the squared norm of the gradient of the sum of their logits, with a graph."""
        x = x.detach().requires_grad_(True)
        total = torch.stack([logits.sum() for logits in self._logits(judge(x))]).sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
        return gradient.flatten(1).square().sum(1).mean()

    def _lecam(self, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """`E|max(0, r - mean_f)|^2 + E|max(0, mean_r - f)|^2` (eq. 3), mean over heads, with running means of the earlier steps."""
        mean_r = torch.stack([r.mean() for r, _ in pairs]).mean()
        mean_f = torch.stack([f.mean() for _, f in pairs]).mean()
        self._seen.append(torch.stack([mean_r, mean_f]).detach())
        old_real, old_fake = self.mean_real.clone(), self.mean_fake.clone()
        if self.config.lecam_of == "mean":
            pairs = [(mean_r, mean_f)]
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
