"""Discriminators by name. A new one is one file here and one line in this table."""

from ...codecs.kinds import Kinds
from .base import DiscriminatorConfig

# kind -> "module:config class"
DISCRIMINATORS: Kinds[type[DiscriminatorConfig]] = Kinds("discriminator kind", __name__, {
    "patchgan": "patchgan:PatchGanConfig",
    "blurred_patchgan": "blurred_patchgan:BlurredPatchGanConfig",
    "stylegan": "stylegan:StyleGanConfig",
    "dino": "dino:DinoConfig",
    "by_group": "by_group:ByGroupConfig",
    "multi_period": "multi_period:MultiPeriodConfig",
    "multi_scale": "multi_scale:MultiScaleConfig",
    "multi_resolution_stft": "multi_resolution_stft:MultiResolutionStftConfig",
    "multi_scale_stft": "multi_scale_stft:MultiScaleStftConfig",
    "multi_resolution_spectrogram": "multi_resolution_spectrogram:MultiResolutionSpectrogramConfig",
    "spectrogram_patches": "spectrogram_patches:SpectrogramPatchesConfig",
    "multi_frequency": "multi_frequency:MultiFrequencyConfig",
    "mel_bands": "mel_bands:MelBandsConfig",
    "speech_model": "speech_model:SpeechModelJudgeConfig",
}, base="base:DiscriminatorConfig")  # fmt: skip
DiscriminatorConfig.kinds = DISCRIMINATORS
