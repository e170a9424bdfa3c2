"""What a discriminator is: a frozen config, and a module that judges a batch of media with one or more heads."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ...codecs.config import Polymorphic
from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(Polymorphic):
    """Base of all discriminator settings."""

    def build(self, spec: TokenizerSpec) -> "Discriminator":
        """Return the discriminator for media as `spec` describes them."""
        raise NotImplementedError


class Discriminator(nn.Module):
    """Base class of discriminators: `forward` takes a batch and returns one `Judgement` for each head."""

    def forward(self, x: Tensor) -> list[Judgement]:
        """Return the logits and features of each head for media `[B, C, T]` or `[B, C, H, W]`."""
        raise NotImplementedError


class DiscriminatorSet(nn.Module):
    """All discriminators of a run as one module, so that one call (and one DDP reduction) covers them."""

    def __init__(self, members: Mapping[str, Discriminator]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(dict(members))

    def forward(self, x: Tensor, x_hat: Tensor | None = None) -> tuple[list[Judgement], list[Judgement]]:
        """Return the judgements of `x` and, when given, of `x_hat`, heads in a fixed order.

        The two batches pass through separately: batch statistics of real and reconstructed media must not mix.
        """
        first = [j for member in self.members.values() for j in member(x)]
        second = [] if x_hat is None else [j for member in self.members.values() for j in member(x_hat)]
        return first, second
