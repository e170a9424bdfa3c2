"""Distance of pictures in the logits of a frozen image classifier.

Source: TiTok's second stage and TA-TiTok (arXiv 2406.07550, 2501.07730; bytedance/1d-tokenizer @ 942a96fbdd,
`perceptual_loss.py`): squared distance of ConvNeXt-S's 1000 logits, instead of LPIPS or in addition to it. The same was done with
ResNet-50 for MaskGIT's VQGAN.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import ImageSpec, TokenizerSpec
from ..frames import pictures_of
from .base import Loss, LossConfig, LossInputs


@dataclass(frozen=True, kw_only=True)
class VisionDistanceConfig(LossConfig):
    """Mean squared difference of the model's logits for `x_hat` and `x`.

    Attributes:
        model: what `timm.create_model` takes; its head stays on.
        image_size: side in pixels that pictures are brought to (bilinear, antialiased); 0: as they are.
        pretrained: False leaves the weights random, for a run that only tests the set-up.
    """

    kind: ClassVar[str] = "vision_distance"
    model: str = "convnext_small.fb_in1k"
    image_size: int = 224
    pretrained: bool = True

    def build(self, spec: TokenizerSpec) -> Loss:
        if not isinstance(spec, ImageSpec) or spec.channels != 3:
            raise ConfigError("the loss 'vision_distance' needs a tokenizer of colour pictures.")
        return VisionDistance(self, spec.value_range)


class VisionDistance(Loss):
    """Distance of a classifier's logits; settings: `VisionDistanceConfig`. The network is frozen and not part of checkpoints."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: VisionDistanceConfig, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.config, self.value_range = config, value_range
        network, mean, deviation = _network(config)
        # In a list, so that it is neither a parameter of the loss nor saved with it.
        self._network = [network.requires_grad_(False).eval()]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over the batch, a scalar; the gradient flows to `x_hat` only."""
        with torch.no_grad():
            target = self._logits(inputs.x)
        return (self._logits(inputs.x_hat) - target).square().mean()

    def _logits(self, x: Tensor) -> Tensor:
        low, high = self.value_range
        x = (pictures_of(x) - low) / (high - low)
        if self.config.image_size:
            x = F.interpolate(x, size=(self.config.image_size,) * 2, mode="bilinear", align_corners=False, antialias=True)
        return self._network[0].to(x.device)((x - self.mean) / self.deviation)


def _network(config: VisionDistanceConfig) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    """The model, and the mean and deviation of each colour that it was trained with."""
    import timm
    from timm.data import resolve_model_data_config

    network = timm.create_model(config.model, pretrained=config.pretrained)
    data = resolve_model_data_config(network)
    return network, data["mean"], data["std"]
