"""Contrastive loss (CLIP's): each picture's vector is matched with the teacher's of the same picture, against those of the batch.

Sources: CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3); ImageFolder and XQ-GAN (arXiv 2410.01756, section 3.3,
2412.01762; lxa9867/ImageFolder @ 76ddfb9a65, `xqgan_model.py`): the last branch's mean code against DINOv2's vector of the picture.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...codecs.spec import ImageSpec, TokenizerSpec
from .base import Loss, LossInputs
from .distillation import Distillation, DistillationConfig


@dataclass(frozen=True, kw_only=True)
class ContrastConfig(DistillationConfig):
    """As `distillation`, but means over positions are compared, contrasted with those of the rest of the batch.

    Attributes:
        scale: factor on cosines before the softmax (CLIP's largest: 100).
    """

    kind: ClassVar[str] = "contrast"
    scale: float = 100.0

    def build(self, spec: TokenizerSpec) -> Loss:
        return Contrast(self, grids=isinstance(spec, ImageSpec))


class Contrast(Distillation):
    """Contrastive loss over the batch of one process; settings: `ContrastConfig`.

    Differs: CLIP takes negatives from all processes, here they come from the same process only.
    """

    config: ContrastConfig

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean of the cross-entropies from pictures to teacher vectors and back, a scalar."""
        ours, theirs = (F.normalize(y.mean(2), dim=1) for y in self.pair(inputs))  # [B, D]
        alike = self.config.scale * ours @ theirs.t()  # [B, B]
        own = torch.arange(len(alike), device=alike.device)
        return (F.cross_entropy(alike, own) + F.cross_entropy(alike.t(), own)) / 2
