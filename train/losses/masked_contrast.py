"""Contrast of hidden positions (wav2vec 2.0's): the prediction for a hidden position is matched with what was there, against others.

Sources: wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477, eq. 3); UniCodec (arXiv 2502.20067; Jiang-Yidi/UniCodec @ 8f90335,
decoder/loss.py, encoder/modules/seanet.py): the codes of hidden frames against the encoder's frames.
Letters: B batch, D width, L positions, M hidden positions of an item, N negatives.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named, width_of


@dataclass(frozen=True, kw_only=True)
class MaskedContrastConfig(LossConfig):
    """Mean over hidden positions of `-log softmax(cos(a, b) / temperature)` at the true one among it and the negatives.

    Attributes:
        feature: a, the prediction for each position, `[B, D, L]`.
        target: b, what was there before it was hidden, `[B, D', L]`; gradients flow to both, each through a linear layer.
        mask: the feature that says where something is hidden, bool `[B, L]`, as often in each item; without it (in validation) the
            loss is left out.
        width: to which the linear layers lead.
        negatives: N, other hidden positions of the same item, drawn for each, some more than once.
        temperature: of the softmax.
    """

    kind: ClassVar[str] = "masked_contrast"
    feature: str = "z_q"
    target: str = "frames"
    mask: str = "hidden"
    width: int = 256
    negatives: int = 100
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if min(self.width, self.negatives) < 1 or self.temperature <= 0:
            raise ConfigError(
                f"width is {self.width}, negatives {self.negatives}, temperature {self.temperature}; the first two must be at least 1, "
                "the last above 0."
            )

    def needs_widths(self) -> bool:
        return True

    def build(self, spec: TokenizerSpec) -> Loss:
        return MaskedContrast(self)


class MaskedContrast(Loss):
    """Contrast of hidden positions; settings: `MaskedContrastConfig`."""

    on_output = False

    def __init__(self, config: MaskedContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.reads = (config.feature, config.target, config.mask)

    def prepare(self, widths: dict[str, int]) -> None:
        """Make the linear layers; `widths` gives the number of channels of each feature by name."""
        self.ours, self.theirs = (nn.Linear(width_of(widths, name), self.config.width) for name in self.reads[:2])

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over all hidden positions, a scalar.

        Raises:
            ConfigError: items with different numbers of hidden positions, or with less than two.
        """
        ours, theirs, hidden = (features_named(inputs, name)[0] for name in self.reads)
        counts = hidden.sum(1)
        if int(counts.min()) != int(counts.max()) or int(counts.min()) < 2:
            raise ConfigError(f"{self.config.mask!r} hides {counts.tolist()} positions; need as many of each item, two or more.")
        a = self.ours(ours.float().transpose(1, 2)[hidden]).unflatten(0, (len(hidden), -1))  # [B, M, width]
        b = self.theirs(theirs.float().transpose(1, 2)[hidden]).unflatten(0, (len(hidden), -1))
        return contrast(a, b, others(b.shape[0], b.shape[1], self.config.negatives, b.device), self.config.temperature)


def others(batch: int, positions: int, count: int, device: torch.device) -> Tensor:
    """Numbers `[B, M, N]` of other positions of the same item, evenly drawn."""
    drawn = torch.randint(positions - 1, (batch, positions, count), device=device)
    return drawn + (drawn >= torch.arange(positions, device=device)[:, None])  # past the position itself


def contrast(a: Tensor, b: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of matching `a` `[B, M, W]` with `b` of its own position, against those of the positions `negatives`."""
    wrong = b[torch.arange(len(b), device=b.device)[:, None, None], negatives]  # [B, M, N, W]
    alike = F.cosine_similarity(a[:, :, None], torch.cat([b[:, :, None], wrong], dim=2), dim=3) / temperature  # [B, M, 1 + N]
    same = (wrong == b[:, :, None]).all(3)  # what equals the true one is no wrong answer
    alike = torch.cat([alike[..., :1], alike[..., 1:].masked_fill(same, -torch.inf)], dim=2)
    return F.cross_entropy(alike.flatten(0, 1), torch.zeros(alike.shape[0] * alike.shape[1], dtype=torch.long, device=a.device))
