"""What a loss is: a frozen config with a weight, and a module that turns one training step into a scalar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...codecs.config import ConfigError, Polymorphic
from ...codecs.spec import TokenizerSpec


@dataclass(frozen=True)
class Judgement:
    """Output of one head of a discriminator for a batch.

    Attributes:
        logits: any shape that begins with B; high for real media.
        features: outputs of the layers before, for feature matching.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()

    def detach(self) -> "Judgement":
        """The same output, detached from the graph."""
        return Judgement(self.logits.detach(), tuple(f.detach() for f in self.features))


@dataclass(frozen=True)
class LossInputs:
    """All inputs that a loss may use.

    Attributes:
        x: media, float32 `[B, C, T]` or `[B, C, H, W]`.
        x_hat: reconstruction in the shape of `x`, float32, with gradient.
        out: what `Tokenizer.forward` returned (latents, quantizer result, extra features).
        real: judgements of `x`, one for each head of all discriminators, detached; empty before `adversarial_start`.
        fake: judgements of `x_hat`, with gradient to `x_hat` only.
        targets: teachers' features by teacher name.
    """

    x: Tensor
    x_hat: Tensor
    out: Any
    real: Sequence[Judgement] = ()
    fake: Sequence[Judgement] = ()
    targets: Mapping[str, Tensor] = field(default_factory=dict)


def features_named(inputs: LossInputs, name: str) -> list[Tensor]:
    """Return the features that a loss refers to by `name`.

    Args:
        inputs: of the loss.
        name: "z" or "z_q", the latents before and after the quantizer; one of the tokenizer's features; or several, with a `*` in
            place of their number ("logits.*": `logits.0`, `logits.1`, ...), in the order of the numbers.

    Raises:
        ConfigError: the tokenizer has no such feature.
    """
    found = _find(inputs, name)
    if not found:
        raise ConfigError(f"the tokenizer has no feature {name!r}; it has {', '.join(sorted({*inputs.out.features, 'z', 'z_q'}))}.")
    return found


def _find(inputs: LossInputs, name: str) -> list[Tensor]:
    if name in ("z", "z_q"):
        return [inputs.out.z if name == "z" else inputs.out.quantized.z_q]
    features = inputs.out.features
    if not name.endswith("*"):
        return [features[name]] if name in features else []
    stem = name[:-1]
    numbers = sorted(int(n[len(stem) :]) for n in features if n.startswith(stem) and n[len(stem) :].isdecimal())
    return [features[f"{stem}{n}"] for n in numbers]


def weighted_sum(terms: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted sum of scalars; the last weight is also that of all further terms. Without weights: the plain sum."""
    if not weights:
        return torch.stack(list(terms)).sum()
    own = [weights[min(i, len(weights) - 1)] for i in range(len(terms))]
    return torch.stack([w * t for w, t in zip(own, terms, strict=True)]).sum()


@dataclass(frozen=True, kw_only=True)
class LossConfig(Polymorphic):
    """Settings common to all losses. `weight` 0 still computes and logs the loss."""

    #: the loss uses the outputs of discriminators; it also computes the loss that trains them.
    needs_discriminators: ClassVar[bool] = False
    trains_discriminators: ClassVar[bool] = False

    weight: float = 1.0

    def build(self, spec: TokenizerSpec) -> "Loss":
        """Return the loss module for media as `spec` describes them."""
        raise NotImplementedError


class Loss(nn.Module):
    """Base class of losses. A loss may have parameters (projection heads): they train with the tokenizer but are no part of it."""

    #: True where the loss needs discriminators, hence only counts from `adversarial_start` on.
    adversarial: bool = False
    #: False where the loss does not use `x_hat` but latents or features; such losses are never balanced.
    on_output: bool = True

    #: Names of the tokenizer's features that the loss compares. Some families compute them in training only: validation then
    #: leaves the loss out.
    reads: tuple[str, ...] = ()

    def can_score(self, inputs: LossInputs) -> bool:
        """Whether `inputs` has all features that the loss reads."""
        return all(_find(inputs, name) for name in self.reads)

    def prepare(self, widths: dict[str, int]) -> None:
        """Make the parameters that depend on the tokenizer; `widths`: name of a feature ("z", "z_q", ...) -> its channels."""

    def end_step(self, *, moved: bool = True) -> None:
        """Called once after each step: updates running means with what the forward passes of all its parts collected.

        Args:
            moved: False if the step failed: what its forward passes collected is discarded.
        """

    def judge_loss(self, real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor | None:
        """Return the loss of the discriminators, a scalar, if this is the loss that trains them; else None."""
        return None

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the unweighted loss, a scalar: a mean over the batch."""
        raise NotImplementedError
