"""What a discriminator is: a frozen config, and a module that judges a batch of media with one or more heads."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ...codecs.config import ConfigError, Polymorphic, nearest
from ...codecs.spec import AudioSpec, ImageSpec, TokenizerSpec
from ..losses.base import Judgement


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(Polymorphic):
    """Base of all discriminator settings."""

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


class DiscriminatorSet(nn.Module):
    """All discriminators of a run as one module, so that one call (and one DDP reduction) covers them."""

    def __init__(self, members: Mapping[str, Discriminator]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(dict(members))

    def forward(
        self, x: Tensor, x_hat: Tensor | None = None, features: Mapping[str, Tensor] | None = None
    ) -> tuple[list[Judgement], list[Judgement]]:
        """Return the judgements of `x` and, when given, of `x_hat`, heads in a fixed order, each with its discriminator's name.

        `features`: of the tokenizer in this batch, for discriminators that read one. The two batches pass through separately: batch
        statistics of real and reconstructed media must not mix.
        """
        return self._of(x, features or {}), [] if x_hat is None else self._of(x_hat, features or {})

    def _of(self, x: Tensor, features: Mapping[str, Tensor]) -> list[Judgement]:
        found: list[Judgement] = []
        for name, member in self.members.items():
            reads = getattr(member, "reads", "")
            if reads and reads not in features:
                raise ConfigError(f"discriminators.{name} reads the feature {reads!r}.{nearest(reads, list(features))}")
            found += [dataclasses.replace(j, source=name) for j in (member(x, features[reads]) if reads else member(x))]
        return found
