"""What a teacher is: a frozen network whose features a tokenizer learns to predict (semantic distillation).

A teacher computes target features of a batch of media. The tokenizer's own features are in `Reconstruction.features` by name;
the losses `distillation` and `aligned_distillation` compare the two.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...codecs.config import ConfigError, Polymorphic
from ...codecs.media import resample
from ...codecs.spec import AudioSpec, TokenizerSpec


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Polymorphic):
    """Base of all teacher settings; `build` returns the frozen module.

    Attributes:
        partner: what the teacher takes in place of the media: the name of a partner under `data.partners`.
    """

    #: kinds of partners that it may be
    partner_kinds: ClassVar[tuple[str, ...]] = ("image",)
    #: whether media are single pictures, never clips of them
    of_pictures: ClassVar[bool] = False

    partner: str = ""

    def build(self, spec: TokenizerSpec) -> "Teacher":
        """Return the teacher for media as `spec` describes them."""
        raise NotImplementedError


class Teacher(nn.Module):
    """Base class: never trained, always in eval mode, never part of a checkpoint."""

    @torch.no_grad()
    def forward(self, x: Tensor | list[str]) -> Tensor:
        """Return targets of media `[B, C, T]` or `[B, C, H, W]`, or of partners of another kind: features `[B, D, L]`, where a column
        of zeros is padding, or, of the kind `tokenizer`, int64 ids `[B, L]`.
        """
        return self.targets(x)

    def targets(self, x: Any) -> Tensor:
        """Return the targets of a batch of media or partners, see `forward`; implemented by each subclass, runs without gradients."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode whatever `mode` is: a teacher is frozen."""
        return super().train(False)


class WaveformInput(nn.Module):
    """Converts a batch of sound to the input of a speech model: mono, resampled, normalised, padded.

    Args:
        spec: of the tokenizer, from whose sample rate clips are resampled.
        rate_hz: sample rate that the model takes as input.
        normalize: bring each clip to mean 0 and variance 1.
        who: the teacher's kind, for messages.
    """

    def __init__(self, spec: TokenizerSpec, rate_hz: int, *, normalize: bool, who: str) -> None:
        super().__init__()
        if not isinstance(spec, AudioSpec):
            raise ConfigError(f"the teacher {who!r} takes sound; this tokenizer's modality is {spec.modality!r}.")
        self.from_hz, self.rate_hz, self.normalize = spec.sample_rate_hz, rate_hz, normalize

    def forward(self, x: Tensor, pad: tuple[int, int] = (0, 0)) -> Tensor:
        """`[B, C, T]` at the tokenizer's rate to `[B, T']`, with `pad` zeros before and after."""
        y = resample(x.float().mean(1), self.from_hz, self.rate_hz)
        if self.normalize:
            y = (y - y.mean(-1, keepdim=True)) / torch.sqrt(y.var(-1, unbiased=False, keepdim=True) + 1e-7)
        return nn.functional.pad(y, pad)
