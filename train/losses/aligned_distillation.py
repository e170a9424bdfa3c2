"""Distance from a teacher whose vectors are in order but have no times: word pieces, each matched with frames inside a window.

Source: FuseCodec's temporally aligned supervision (arXiv 2509.11425), of which no code is public. From the paper: each text state
is matched by similarity with the speech tokens near its place, and is their target.
Differs: where the paper leaves it open, the window is centred on the place of the piece if all pieces have the same length;
matches are monotonic in time; a frame belongs to the piece whose match is nearest.

Letters: B batch, D width, L positions, N pieces.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import AudioSpec, TokenizerSpec
from .base import Loss, LossInputs
from .distillation import Distillation, DistillationConfig, distance


@dataclass(frozen=True, kw_only=True)
class AlignedDistillationConfig(DistillationConfig):
    """As `distillation`, after an alignment with the teacher `text_states` in its form "pieces"; its columns of zeros are padding.

    Attributes:
        window: half width of the window in mean piece lengths (L / N frames). Its centre is the place of the piece if all pieces
            have the same length.
    """

    kind: ClassVar[str] = "aligned_distillation"
    window: float = 1.0

    def __post_init__(self) -> None:
        if self.window < 0:
            raise ConfigError(f"window is {self.window}; it cannot be negative.")

    def build(self, spec: TokenizerSpec) -> Loss:
        if not isinstance(spec, AudioSpec):
            raise ConfigError(f"the loss {self.kind!r} aligns along time; this tokenizer's modality is {spec.modality!r}.")
        return AlignedDistillation(self)


class AlignedDistillation(Distillation):
    """Distillation from word pieces that are first aligned with frames; settings: `AlignedDistillationConfig`."""

    config: AlignedDistillationConfig

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean distance over the items that contain speech; 0 if no item does."""
        ours, pieces = self.pair(inputs)
        counts = (pieces.abs().sum(1) > 0).sum(1)  # [B]
        spoken = counts > 0
        if not spoken.any():
            return ours.sum() * 0
        ours, pieces, counts = ours[spoken], pieces[spoken], counts[spoken]
        places = align(ours.detach(), pieces, counts, self.config.window)  # [B, L]
        target = pieces.gather(2, places[:, None].expand(-1, pieces.shape[1], -1))  # [B, D, L]
        return distance(ours, target, self.config.along)


def align(ours: Tensor, pieces: Tensor, counts: Tensor, window: float) -> Tensor:
    """Return the index of the piece that each frame belongs to, int64 `[B, L]`.

    Args:
        ours: features of the tokenizer `[B, D, L]`.
        pieces: states of the teacher `[B, D, N]`; those from `counts[b]` on are padding.
        counts: number of pieces of each item, `[B]`, at least 1.
        window: see `AlignedDistillationConfig`.
    """
    length, n = ours.shape[2], pieces.shape[2]
    alike = F.normalize(pieces, dim=1).transpose(1, 2) @ F.normalize(ours, dim=1)  # [B, N, L]
    frames = torch.arange(length, device=ours.device)  # [L]
    mean_length = (length / counts)[:, None]  # [B, 1]
    before = torch.full((len(ours),), -1, device=ours.device)
    matches = []
    for i in range(n):  # one after the other: each must be after the one before
        away = (frames + 0.5 - (i + 0.5) * mean_length).abs()  # [B, L]
        free = (away <= (window * mean_length).clamp(min=0.5)) & (frames > before[:, None])
        best = alike[:, i].masked_fill(~free, -torch.inf).argmax(1)  # [B]
        before = torch.where(free.any(1), best, (before + 1).clamp(max=length - 1))
        matches.append(before)
    gap = (frames[None, None] - torch.stack(matches, 1)[..., None]).abs()  # [B, N, L]
    unsaid = torch.arange(n, device=ours.device) >= counts[:, None]  # [B, N]
    return gap.masked_fill(unsaid[..., None], length + 1).argmin(1)
