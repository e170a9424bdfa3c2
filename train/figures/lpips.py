"""LPIPS of reconstructed pictures (Zhang et al. 2018, arXiv 1801.03924), without a part in the loss."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import ImageSpec, TokenizerSpec
from ..losses.perceptual import distance_network
from .base import Figure, FigureConfig, MeanFigure


@dataclass(frozen=True, kw_only=True)
class LpipsConfig(FigureConfig):
    """Mean LPIPS of the crops, of values clipped to the tokenizer's range.

    Attributes:
        weights, inputs: as of the loss `perceptual`.
    """

    kind: ClassVar[str] = "lpips"
    weights: str = "lpips:alex"
    inputs: Literal["caffe", "imagenet"] = "caffe"

    def build(self, spec: TokenizerSpec) -> Figure:
        if not isinstance(spec, ImageSpec) or spec.channels != 3:
            raise ConfigError("the figure 'lpips' judges colour pictures; this tokenizer has none.")
        network = distance_network(self.weights, self.inputs)
        low, high = spec.value_range

        @torch.no_grad()
        def judged(x: Tensor, x_hat: Tensor) -> float:
            a, b = (((v.float().clamp(low, high) - low) / (high - low))[None] for v in (x, x_hat))  # 0..1
            return float(network.to(x.device)(b, a))

        return MeanFigure(judged)
