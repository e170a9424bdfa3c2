"""Losses by name. A new loss is one file here and one line in this table."""

from ...codecs.kinds import Kinds
from .base import LossConfig

# kind -> "module:config class"
LOSSES: Kinds[type[LossConfig]] = Kinds("loss kind", __name__, {
    "waveform": "waveform:WaveformLossConfig",
    "stft": "stft:StftConfig",
    "mel": "mel:MelConfig",
    "compressed_stft": "compressed_stft:CompressedStftConfig",
    "loudness": "loudness:LoudnessConfig",
    "intelligibility": "intelligibility:IntelligibilityConfig",
    "pixel": "pixel:PixelConfig",
    "logit_laplace": "logit_laplace:LogitLaplaceConfig",
    "features": "features:FeatureLossConfig",
    "cross_entropy": "cross_entropy:CrossEntropyConfig",
    "perceptual": "perceptual:PerceptualConfig",
    "vision_distance": "vision_distance:VisionDistanceConfig",
    "adversarial": "adversarial:AdversarialConfig",
    "feature_matching": "feature_matching:FeatureMatchingConfig",
    "distillation": "distillation:DistillationConfig",
    "aligned_distillation": "aligned_distillation:AlignedDistillationConfig",
    "own_feature": "own_feature:OwnFeatureConfig",
    "contrast": "contrast:ContrastConfig",
    "masked_contrast": "masked_contrast:MaskedContrastConfig",
    "text_contrast": "text_contrast:TextContrastConfig",
    "language_model": "language_model:LanguageModelConfig",
    "codes": "codes:CodesConfig",
    "token_prior": "token_prior:TokenPriorConfig",
    "class_balanced": "class_balanced:ClassBalancedConfig",
    "halting": "halting:HaltingConfig",
    "quantizer": "quantizer:QuantizerLossConfig",
}, base="base:LossConfig")  # fmt: skip
LossConfig.kinds = LOSSES
