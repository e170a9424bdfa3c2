"""What a loss is: a frozen config with a weight, and a module that turns one training step into a scalar."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...codecs.config import ConfigError, Polymorphic
from ...codecs.spec import AudioSpec, TokenizerSpec


@dataclass(frozen=True)
class Judgement:
    """Output of one head of a discriminator for a batch.

    Attributes:
        logits: any shape that begins with B; high for real media.
        features: outputs of the layers before, for feature matching.
        source: name of the discriminator in the run file.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    source: str = ""

    def detach(self) -> "Judgement":
        """The same output, detached from the graph."""
        return Judgement(self.logits.detach(), tuple(f.detach() for f in self.features), self.source)


#: Runs all discriminators on media; gradients flow to their weights and to the media.
Judge = Callable[[Tensor], list[Judgement]]


def of_discriminators(judgements: Sequence[Judgement], names: Collection[str]) -> list[Judgement]:
    """Those of the discriminators `names`, in their order; of all, if none is named."""
    return [j for j in judgements if not names or j.source in names]


@dataclass(frozen=True)
class LossInputs:
    """All inputs that a loss may use.

    Attributes:
        x: media, float32 `[B, C, T]` or `[B, C, H, W]`; maps of classes, int64 `[B, H, W]`.
        x_hat: reconstruction in the shape of `x`, float32, with gradient; of classes their scores `[B, V, H, W]`.
        out: what `Tokenizer.forward` returned (latents, quantizer result, extra features).
        real: judgements of `x`, one for each head of all discriminators, detached; empty before `adversarial_start`.
        fake: judgements of `x_hat`, with gradient to `x_hat` only.
        targets: teachers' features by teacher name.
        partners: what belongs to each medium beside it, by the names of `data.partners`: B texts, pictures `[B, C, H, W]` with the
            crops of `x`, maps int64 `[B, H, W]`, features `[B, ...]`.
    """

    x: Tensor
    x_hat: Tensor
    out: Any
    real: Sequence[Judgement] = ()
    fake: Sequence[Judgement] = ()
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    partners: Mapping[str, Tensor | list[str]] = field(default_factory=dict)

    @property
    def partner(self) -> Tensor | list[str]:
        """The partner of the media, where there is one alone; raises ConfigError where there are none or several."""
        return partner_named(self.partners, "")


def partner_named(partners: Mapping[str, Tensor | list[str]], name: str) -> Tensor | list[str]:
    """Return one of the partners of a batch.

    Args:
        partners: by name.
        name: "" for the only one.

    Raises:
        ConfigError: there is no such partner; or several, and no name.
    """
    if name in partners:
        return partners[name]
    if not name and len(partners) == 1:
        return next(iter(partners.values()))
    if name:
        raise ConfigError(f"the media have no partner {name!r}; data.partners names {', '.join(sorted(partners)) or 'none'}.")
    raise ConfigError(
        f"the media have {len(partners) or 'no'} partners{': ' if partners else ''}{', '.join(sorted(partners))}; this needs one: "
        "name it by `partner` where there are several, and describe it under data.partners where there is none."
    )


def texts_named(partners: Mapping[str, Tensor | list[str]], name: str) -> list[str]:
    """As `partner_named`, of texts.

    Raises:
        ConfigError: as `partner_named`, and for a partner that is no text.
    """
    found = partner_named(partners, name)
    if isinstance(found, Tensor):
        raise ConfigError(f"the partner {name!r} is no text; set its kind under data.partners to text.")
    return found


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


def width_of(widths: Mapping[str, int], feature: str) -> int:
    """Channels of a feature of the tokenizer; raises ConfigError, with the names of those it has, if it has no such feature."""
    if feature not in widths:
        raise ConfigError(f"the tokenizer has no feature {feature!r}; it has {', '.join(sorted(widths))}.")
    return widths[feature]


def rate_of(spec: TokenizerSpec, kind: str) -> int:
    """Sample rate in Hz of a tokenizer's media, for a loss of this kind, which compares waveforms.

    Raises:
        ConfigError: no audio tokenizer.
    """
    if not isinstance(spec, AudioSpec):
        raise ConfigError(f"the loss {kind!r} needs an audio tokenizer, not one of modality {spec.modality!r}.")
    return spec.sample_rate_hz


def weighted_sum(terms: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted sum of scalars; the last weight is also that of all further terms. Without weights: the plain sum."""
    if not weights:
        return torch.stack(list(terms)).sum()
    own = [weights[min(i, len(weights) - 1)] for i in range(len(terms))]
    return torch.stack([w * t for w, t in zip(own, terms, strict=True)]).sum()


@dataclass(frozen=True, kw_only=True)
class LossConfig(Polymorphic):
    """Settings common to all losses.

    Attributes:
        weight: 0 still computes and logs the loss.
        rate: factor on the learning rate of the parameters that the loss owns (a projector, a language model, a text tower).
        scaled_by: a feature of the tokenizer with whose mean over the batch the loss is multiplied: a weight that depends on what was
            drawn for the batch (ReTok's `left_out`).
        against: a partner picture (under `data.partners`) that takes the place of the media: the reconstruction of a noisy picture is
            compared with the clean one.
    """

    #: the loss uses the outputs of discriminators; it also computes the loss that trains them.
    needs_discriminators: ClassVar[bool] = False
    trains_discriminators: ClassVar[bool] = False
    #: kinds of partners that a loss with the setting `partner` takes.
    partner_kinds: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0
    rate: float = 1.0
    against: str = ""
    scaled_by: str = ""

    def needs_widths(self) -> bool:
        """Whether `Loss.prepare` needs the channels of the tokenizer's features."""
        return bool(getattr(self, "project", 0))

    def build(self, spec: TokenizerSpec) -> "Loss":
        """Return the loss module for media as `spec` describes them."""
        raise NotImplementedError


class Loss(nn.Module):
    """Base class of losses. A loss may have parameters (projection heads): they train with the tokenizer but are no part of it."""

    #: True where the loss needs discriminators, hence only counts from `adversarial_start` on.
    adversarial: bool = False
    #: False where the loss does not use `x_hat` but latents or features; such losses are never balanced.
    on_output: bool = True
    #: True where `x_hat` are scores of classes, and `x` the classes.
    of_scores: bool = False

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
        """Return the loss of the discriminators, a scalar, if this is a loss that trains them; else None."""
        return None

    def judge_penalty(
        self, judge: Judge, x: Tensor, x_hat: Tensor, real: Sequence[Judgement], fake: Sequence[Judgement], update: int
    ) -> Tensor | None:
        """Return a further loss of the discriminators for which these run again, a scalar, or None.

        Args:
            judge: runs all discriminators once more.
            x: media.
            x_hat: detached reconstructions.
            real: what was judged of the media, with gradients.
            fake: what was judged of the reconstructions, with gradients.
            update: number of this update of the discriminators, from 0; lazy penalties are computed at some of them.
        """
        return None

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the unweighted loss, a scalar: a mean over the batch."""
        raise NotImplementedError
