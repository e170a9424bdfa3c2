"""Negative log-likelihood of pixels whose logit is Laplace-distributed: the reconstruction term of DALL-E's discrete VAE.

Source: Ramesh et al. 2021, arXiv 2102.12092, appendix A.3. The density of a pixel p in (0, 1) with location m and scale b is
exp(-|logit(p) - m| / b) / (2 b p (1 - p)). Letters: B batch, C colours, H W pixels.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import ImageSpec, TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named


@dataclass(frozen=True, kw_only=True)
class LogitLaplaceConfig(LossConfig):
    """Mean over batch, colours and pixels of the negative log-likelihood, in nats.

    Attributes:
        feature: locations and log-scales of the tokenizer's features, `[B, 2 C, H, W]`.
        margin: pixels are first mapped from their range to margin..1 - margin, where their logit is finite.
    """

    kind: ClassVar[str] = "logit_laplace"
    feature: str = "statistics"
    margin: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.margin < 0.5:
            raise ConfigError(f"margin is {self.margin}; it must lie between 0 and 0.5, else a white or black pixel has no logit.")

    def build(self, spec: TokenizerSpec) -> Loss:
        if not isinstance(spec, ImageSpec):
            raise ConfigError("the loss 'logit_laplace' needs a tokenizer of pictures.")
        return LogitLaplace(self, spec.value_range)


class LogitLaplace(Loss):
    """Negative log-likelihood of the input's pixels; settings: `LogitLaplaceConfig`."""

    on_output = False

    def __init__(self, config: LogitLaplaceConfig, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.config, self.value_range, self.reads = config, value_range, (config.feature,)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over batch, colours and pixels, a scalar."""
        location, log_scale = features_named(inputs, self.config.feature)[0].float().chunk(2, dim=1)  # each [B, C, H, W]
        (low, high), margin = self.value_range, self.config.margin
        p = margin + (1 - 2 * margin) * (inputs.x - low) / (high - low)
        distance = (torch.logit(p) - location).abs() * (-log_scale).exp()
        return (math.log(2) + log_scale + (p * (1 - p)).log() + distance).mean()
