"""Families by name. A new family is a folder in `image/` or `audio/` and one line here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .config import building, from_mapping
from .kinds import Kinds
from .spec import ImageSpec

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

# family -> "module:class"
FAMILIES: "Kinds[type[Tokenizer]]" = Kinds("family", __package__ or "", {
    "latent": "latent:Latent",
    "spectral": "audio.spectral:SpectralCodec",
    "waveform": "audio.waveform:WaveformCodec",
    "encodec": "audio.encodec.model:Encodec",
    "dac": "audio.dac.model:DAC",
    "snac": "audio.snac.model:SNAC",
    "moss": "audio.moss.model:CAT",
    "speechtokenizer": "audio.speechtokenizer.model:SpeechTokenizer",
    "bigcodec": "audio.bigcodec.model:BigCodec",
    "wavtokenizer": "audio.wavtokenizer.model:WavTokenizer",
    "sq_codec": "audio.sq_codec.model:SQCodec",
    "qwen3_tts": "audio.qwen3_tts.model:Qwen3TTS",
    "focalcodec": "audio.focalcodec.model:FocalCodec",
    "xcodec": "audio.xcodec.model:XCodec",
    "xcodec2": "audio.xcodec2.model:XCodec2",
    "hificodec": "audio.hificodec.model:HiFiCodec",
    "mimi": "audio.mimi.model:Mimi",
    "dualcodec": "audio.dualcodec.model:DualCodec",
    "flexicodec": "audio.flexicodec.model:FlexiCodec",
    "hcodec": "audio.hcodec.model:HCodec",
    "nemo_codec": "audio.nemo_codec.model:NemoCodec",
    "stable_codec": "audio.stable_codec.model:StableCodec",
    "longcat": "audio.longcat.model:LongCat",
    "levo": "audio.levo.model:LeVo",
    "ustokenizer": "audio.ustokenizer.model:USTokenizer",
    "repcodec": "audio.repcodec.model:RepCodec",
    "bicodec": "audio.bicodec.model:BiCodec",
    "fish": "audio.fish.model:Fish",
    "kanade": "audio.kanade.model:Kanade",
    "magicodec": "audio.magicodec.model:MagiCodec",
    "speech_units": "audio.speech_units.model:SpeechUnits",
    "s3": "audio.s3.model:S3",
    "glm_voice": "audio.glm_voice.model:GLMVoice",
    "xy": "audio.xy.model:XYTokenizer",
    "mimo_audio": "audio.mimo_audio.model:MiMoAudio",
    "convnet": "image.convnet:ConvTokenizer",
    "vqgan": "image.vqgan.model:VQGAN",
    "paella": "image.paella.model:Paella",
    "sftok": "image.sftok.model:SFTok",
    "flowmo": "image.flowmo.model:FlowMo",
    "detailflow": "image.detailflow.model:DetailFlow",
    "qlip": "image.qlip.model:QLIP",
    "vfmtok": "image.vfmtok.model:VFMTok",
    "ta_tok": "image.ta_tok.model:TATok",
    "dalle_dvae": "image.dalle_dvae.model:DalleDVAE",
    "cosmos_dv": "image.cosmos_dv.model:CosmosDV",
    "vidtok": "image.vidtok.model:VidTok",
    "iter": "image.iter.model:ITER",
    "var": "image.var.model:MultiScaleVQGAN",
    "kl_tokens": "image.kl_tokens.model:KLTokens",
    "emu3": "image.emu3.model:Emu3",
    "titok": "image.titok.model:TiTok",
    "bsq_vit": "image.bsq_vit.model:BSQViT",
    "instella": "image.instella.model:Instella",
    "uniwetok": "image.uniwetok.model:UniWeTok",
    "xqgan": "image.xqgan.model:XQGAN",
    "flextok": "image.flextok.model:FlexTok",
    "comit": "image.comit.model:COMiT",
    "karl": "image.karl.model:KARL",
    "alit": "image.alit.model:ALIT",
    "retok": "image.retok.model:ReTok",
    "rae": "image.rae.model:RAE",
    "tokenflow": "image.tokenflow.model:TokenFlow",
    "dualvitok": "image.dualvitok.model:DualViTok",
    "dualtoken": "image.dualtoken.model:DualToken",
    "unitok": "image.unitok.model:UniTok",
    "unitok_codes": "image.unitok.codes:UniTokCodes",
    "fdt": "image.fdt.model:FDT",
    "fdt_clip": "image.fdt.clip:FDTClip",
    "fourm": "image.fourm.model:FourM",
    "fourm_divae": "image.fourm.divae:FourMDiVAE",
    "fourm_maps": "image.fourm.maps:FourMMaps",
    "fourm_divae_maps": "image.fourm.maps:FourMDiVAEMaps",
    "seed2": "image.seed2.model:Seed2",
    "seed2_codes": "image.seed2.codes:Seed2Codes",
    "glm_image": "image.glm_image.model:GlmImage",
    "vqtoken": "image.vqtoken.model:VQToken",
    "longcat_next": "image.longcat_next.model:LongCatNext",
    "longcat_next_codes": "image.longcat_next.codes:LongCatNextCodes",
}, base="tokenizer:Tokenizer", label="family")  # fmt: skip


def build_tokenizer(family: str, config: Mapping[str, Any] | Any = None, *, own: bool = False) -> "Tokenizer":
    """Build an untrained tokenizer of `family`, in float32 regardless of `torch.set_default_dtype`.

    Args:
        family: a name from `FAMILIES.names()`.
        config: the family's config dataclass, or a mapping of its fields (checked strictly); None takes the defaults.
        own: the user wrote family and config, so they may name code of the user's own to import (see `kinds.py`).

    Raises:
        ConfigError: unknown family; unknown or missing keys, wrong types; settings that fit no network.
    """
    from .precision import float32_by_default  # torch, which the table alone does not need
    from .start import start_pictures

    cls = FAMILIES.resolve(family, own=own)
    if not isinstance(config, cls.config_class):
        config = from_mapping(cls.config_class, {} if config is None else config, path="config", own=own)
    with float32_by_default(), building(f"a tokenizer of family {family!r}"):
        tokenizer = cls(config)
        for name, weight in tokenizer.named_parameters():
            if weight.numel() == 0:
                raise ValueError(f"{name} would have the shape {list(weight.shape)}")
    if isinstance(tokenizer.spec, ImageSpec):
        start_pictures(tokenizer, tokenizer.spec.value_range)
    return tokenizer
