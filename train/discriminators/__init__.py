"""Discriminators by name. A new one is one file here and one line in this table."""

from ...codecs.kinds import Kinds
from .base import DiscriminatorConfig

# kind -> "module:config class"
DISCRIMINATORS: Kinds[type[DiscriminatorConfig]] = Kinds("discriminator kind", __name__, {
    "patchgan": "patchgan:PatchGanConfig",
    "multi_period": "multi_period:MultiPeriodConfig",
    "multi_scale": "multi_scale:MultiScaleConfig",
    "multi_resolution_stft": "multi_resolution_stft:MultiResolutionStftConfig",
    "multi_scale_stft": "multi_scale_stft:MultiScaleStftConfig",
}, base="base:DiscriminatorConfig")  # fmt: skip
DiscriminatorConfig.kinds = DISCRIMINATORS
