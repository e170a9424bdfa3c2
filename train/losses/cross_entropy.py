"""Cross-entropy of maps of classes, and of masks.

Source: 4M (arXiv 2312.06647, 2406.09406; apple/ml-4m @ cda590faa3, run_training_vqvae.py `compute_reconst_loss`).
Letters: B batch, V classes, H W rows and columns.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import MapSpec, TokenizerSpec
from .base import Loss, LossConfig, LossInputs


@dataclass(frozen=True, kw_only=True)
class CrossEntropyConfig(LossConfig):
    """Cross-entropy of each position, for tokenizers of maps.

    Of classes: `x_hat` are scores `[B, V, H, W]`, `x` the right classes. Of maps of floats: `x_hat` are logits of `x`, which is a mask
    with values in 0..1.
    """

    kind: ClassVar[str] = "cross_entropy"

    def build(self, spec: TokenizerSpec) -> Loss:
        if not isinstance(spec, MapSpec):
            raise ConfigError(f"it is for maps of classes and masks, not for the tokenizer's modality {spec.modality!r}.")
        return CrossEntropy() if spec.classes else BinaryCrossEntropy()


class CrossEntropy(Loss):
    """Cross-entropy of scores of classes."""

    of_scores = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over batch and positions, a scalar."""
        return F.cross_entropy(inputs.x_hat, inputs.x)


class BinaryCrossEntropy(Loss):
    """Cross-entropy of logits of masks.

    Differs: 4M's code takes the probabilities of both sides as the logits of a further softmax, so its loss never falls below 0.31.
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over batch and values, a scalar.

        Raises:
            ConfigError: values outside 0..1, which are no mask.
        """
        if float(inputs.x.min()) < 0 or float(inputs.x.max()) > 1:
            raise ConfigError("cross_entropy of a mask needs values in 0..1; take the loss `features` for other maps.")
        return F.binary_cross_entropy_with_logits(inputs.x_hat, inputs.x)
