"""Families by name. A new family is one file in `image/` or `audio/` and one line here."""

import importlib
from collections.abc import Mapping
from typing import Any

from .config import ConfigError, from_mapping, nearest
from .tokenizer import Tokenizer

# family -> "module:class"
_FAMILIES: dict[str, str] = {
    "latent": "latent:Latent",
    "spectral": "audio.spectral:SpectralCodec",
    "waveform": "audio.waveform:WaveformCodec",
    "encodec": "audio.encodec:Encodec",
    "dac": "audio.dac:DAC",
    "snac": "audio.snac:SNAC",
    "cat": "audio.cat:CAT",
    "speechtokenizer": "audio.speechtokenizer:SpeechTokenizer",
    "bigcodec": "audio.bigcodec:BigCodec",
    "wavtokenizer": "audio.wavtokenizer:WavTokenizer",
    "sq_codec": "audio.sq_codec:SQCodec",
    "qwen3_tts": "audio.qwen3_tts:Qwen3TTS",
    "focalcodec": "audio.focalcodec:FocalCodec",
    "xcodec": "audio.xcodec:XCodec",
    "xcodec2": "audio.xcodec2:XCodec2",
    "hificodec": "audio.hificodec:HiFiCodec",
    "mimi": "audio.mimi:Mimi",
    "dualcodec": "audio.dualcodec:DualCodec",
    "hcodec": "audio.hcodec:HCodec",
    "nemo_codec": "audio.nemo_codec:NemoCodec",
    "stable_codec": "audio.stable_codec:StableCodec",
    "longcat": "audio.longcat:LongCat",
    "levo": "audio.levo:LeVo",
    "ustokenizer": "audio.ustokenizer:USTokenizer",
    "convnet": "image.convnet:ConvTokenizer",
    "vqgan": "image.vqgan:VQGAN",
    "multiscale_vqgan": "image.multiscale_vqgan:MultiScaleVQGAN",
    "kl_tokens": "image.kl_tokens:KLTokens",
    "emu3": "image.emu3:Emu3",
    "titok": "image.titok:TiTok",
    "bsq_vit": "image.bsq_vit:BSQViT",
    "instella": "image.instella:Instella",
    "uniwetok": "image.uniwetok:UniWeTok",
    "xqgan": "image.xqgan:XQGAN",
    "flextok": "image.flextok:FlexTok",
    "karl": "image.karl:KARL",
    "alit": "image.alit:ALIT",
    "retok": "image.retok:ReTok",
    "rae": "image.rae:RAE",
    "tokenflow": "image.tokenflow:TokenFlow",
    "dualvitok": "image.dualvitok:DualViTok",
    "dualtoken": "image.dualtoken:DualToken",
    "unitok": "image.unitok:UniTok",
    "unitok_codes": "image.unitok_codes:UniTokCodes",
    "fdt": "image.fdt:FDT",
    "fourm": "image.fourm:FourM",
    "fourm_divae": "image.fourm_divae:FourMDiVAE",
    "fourm_maps": "image.fourm_maps:FourMMaps",
    "fourm_divae_maps": "image.fourm_maps:FourMDiVAEMaps",
    "seed2": "image.seed2:Seed2",
    "seed2_codes": "image.seed2_codes:Seed2Codes",
    "glm_image": "image.glm_image:GlmImage",
    "longcat_next": "image.longcat_next:LongCatNext",
    "longcat_next_codes": "image.longcat_next_codes:LongCatNextCodes",
}


def families() -> tuple[str, ...]:
    """All family names."""
    return tuple(sorted(_FAMILIES))


def family_class(family: str) -> type[Tokenizer]:
    """Return the class of `family`, or raise `ConfigError` naming the nearest families."""
    if family not in _FAMILIES:
        raise ConfigError(f"unknown family {family!r}.{nearest(family, list(_FAMILIES))}")
    module, name = _FAMILIES[family].split(":")
    return getattr(importlib.import_module(f".{module}", __package__), name)


def build_tokenizer(family: str, config: Mapping[str, Any] | Any = None) -> Tokenizer:
    """Build an untrained tokenizer of `family`.

    Args:
        family: a name from `families()`.
        config: the family's config dataclass, or a mapping of its fields (checked strictly); None takes the defaults.
    """
    cls = family_class(family)
    if not isinstance(config, cls.config_class):
        config = from_mapping(cls.config_class, config or {}, path="config")
    return cls(config)  # type: ignore[call-arg]
