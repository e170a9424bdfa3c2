"""One discriminator for each of several groups of reconstructions, such as those from one number of tokens.

Sources: ALIT (arXiv 2411.02393; ShivamDuggal4/adaptive-length-tokenizer @ 8c0b4ec29c, adaptive_tokenizers/adaptive_vqgan.py,
`gan_losses`: one for each roll-out) and KARL (arXiv 2507.07995; ShivamDuggal4/karl @ 5c1a5693ed: one for each 32 tokens).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ..losses.base import Judgement
from .base import Discriminator, DiscriminatorConfig


@dataclass(frozen=True, kw_only=True)
class ByGroupConfig(DiscriminatorConfig):
    """Settings of `ByGroup`.

    Attributes:
        each: settings of one discriminator; all are alike, with weights of their own.
        groups: number of discriminators.
        feature: the tokenizer's feature, whole numbers `[B, 1]`, that says which one judges an item, the original as well as the
            reconstruction.
    """

    kind: ClassVar[str] = "by_group"
    each: DiscriminatorConfig
    groups: int
    feature: str = "group"

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise ConfigError(f"by_group.groups is {self.groups}; it must be at least 1.")

    @property
    def least_samples(self) -> int:
        """Size of the smallest media, that of `each`."""
        return int(getattr(self.each, "least_samples", 0))

    def build(self, spec: TokenizerSpec) -> Discriminator:
        return ByGroup(self, spec)


class ByGroup(Discriminator):
    """Judges each item by the discriminator of its group; the heads of one group come together, those of groups without items not."""

    def __init__(self, config: ByGroupConfig, spec: TokenizerSpec) -> None:
        super().__init__()
        self.reads = config.feature
        self.members = nn.ModuleList(config.each.build(spec) for _ in range(config.groups))

    def forward(self, x: Tensor, group: Tensor) -> list[Judgement]:
        """Judge media `[B, ...]` whose groups are `[B, 1]`, 0 to `groups - 1`; ValueError for other numbers."""
        group = group.flatten().to(x.device)
        present = group.unique().tolist()
        if present[0] < 0 or present[-1] >= len(self.members):
            raise ValueError(
                f"groups of this batch are {present}, but there are discriminators for 0 to {len(self.members) - 1} alone."
            )
        return [judgement for i in present for judgement in self.members[i](x[group == i])]
