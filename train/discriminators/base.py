"""What a discriminator is: a frozen config, and a module that judges a batch of media with one or more heads."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ...codecs.config import ConfigError, Polymorphic, nearest
from ...codecs.spec import AudioSpec, ImageSpec, TokenizerSpec
from ..frames import pictures_of
from ..losses.base import Judgement


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(Polymorphic):
    """Base of all discriminator settings.

    Attributes:
        of: what it judges in place of media and reconstructions: the names of what is real and of what is predicted, each a teacher or
            a feature of the tokenizer (Kanade: `[mel, mel]`, the teacher's spectrograms and the predicted ones). Empty: the media.
    """

    of: tuple[str, ...] = ()

    def build(self, spec: TokenizerSpec) -> "Discriminator":
        """Return the discriminator for media as `spec` describes them."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SoundConfig(DiscriminatorConfig):
    """Settings that all discriminators of sound have.

    Attributes:
        peak: each clip is judged without its mean and scaled to this peak (DAC: 0.8); 0: as it is.
    """

    peak: float = 0.0

    def sound(self, spec: TokenizerSpec) -> AudioSpec:
        """`spec`, if it describes sound; else raise `ConfigError`."""
        if not isinstance(spec, AudioSpec):
            raise ConfigError(f"the discriminator {self.kind!r} judges sound, not media of modality {spec.modality!r}.")
        return spec

    def level(self, x: Tensor) -> Tensor:
        """Clips `[B, C, T]` without their mean, scaled to `peak`, each channel by itself."""
        if not self.peak:
            return x
        x = x - x.mean(-1, keepdim=True)
        return self.peak * x / (x.abs().amax(-1, keepdim=True) + 1e-9)


def pictures(config: DiscriminatorConfig, spec: TokenizerSpec) -> ImageSpec:
    """`spec`, if it describes pictures; else raise `ConfigError`."""
    if not isinstance(spec, ImageSpec):
        raise ConfigError(f"the discriminator {config.kind!r} judges pictures, not media of modality {spec.modality!r}.")
    return spec


class Discriminator(nn.Module):
    """Base class of discriminators: `forward` takes a batch and returns one `Judgement` for each head."""

    #: name of the tokenizer's feature that `forward` takes as its second argument; "": none.
    reads: str = ""

    def forward(self, x: Tensor) -> list[Judgement]:
        """Return the logits and features of each head for media `[B, C, T]` or `[B, C, H, W]`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Beside:
    """What a step has beside media and reconstructions, for discriminators that read it.

    Attributes:
        features: of the tokenizer, by name.
        targets: of the teachers, by name.
    """

    features: Mapping[str, Tensor] = field(default_factory=dict)
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def real(self, name: str, judge: str) -> Tensor:
        """A teacher's targets, or a feature of the tokenizer without its graph; arguments and errors as of `predicted`."""
        found = self.targets.get(name)
        return self.predicted(name, judge).detach() if found is None else found

    def predicted(self, name: str, judge: str) -> Tensor:
        """A feature of the tokenizer, with its graph, for the discriminator `judge`; ConfigError where it has none of this name."""
        if name not in self.features:
            raise ConfigError(f"discriminators.{judge} reads the feature {name!r}.{nearest(name, list(self.features))}")
        return self.features[name]


class DiscriminatorSet(nn.Module):
    """All discriminators of a run as one module, so that one call (and one DDP reduction) covers them.

    Args:
        members: by name.
        of: by name, what a member judges in place of media and reconstructions; see `DiscriminatorConfig.of`.
    """

    def __init__(self, members: Mapping[str, Discriminator], of: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleDict(dict(members))
        self.of = {name: pair for name, pair in (of or {}).items() if pair}
        if wrong := [f"discriminators.{name}.of is {list(pair)}" for name, pair in self.of.items() if len(pair) != 2]:
            raise ConfigError(f"{wrong[0]}; give two names, of what is real and of what is predicted, or none.")

    def forward(
        self, x: Tensor | None, x_hat: Tensor | None = None, beside: Beside | None = None
    ) -> tuple[list[Judgement], list[Judgement]]:
        """Return the judgements of `x` and of `x_hat`, each if given, heads in a fixed order, each with its discriminator's name.

        The two batches pass through separately: batch statistics of real and reconstructed media must not mix.
        """
        beside = beside or Beside()
        return (
            [] if x is None else self._judged(x, beside, lambda name: beside.real(self.of[name][0], name)),
            [] if x_hat is None else self._judged(x_hat, beside, lambda name: beside.predicted(self.of[name][1], name)),
        )

    def _judged(self, x: Tensor, beside: Beside, found_in: Callable[[str], Tensor]) -> list[Judgement]:
        found: list[Judgement] = []
        for name, member in self.members.items():
            media = found_in(name) if name in self.of else x
            reads = getattr(member, "reads", "")
            media = None if media is None else pictures_of(media)
            judged = member(media, beside.predicted(reads, name).detach()) if reads else member(media)
            found += [dataclasses.replace(j, source=name) for j in judged]
        return found
