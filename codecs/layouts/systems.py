"""The registry of layouts: names of published checkpoint formats, each with its module in a family's folder."""

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ..kinds import Kinds
from .layout import Layout

# system -> module with its `Layout` in the tuple LAYOUTS. A new layout is one file in its family's folder and its lines here.
SYSTEMS: Kinds[ModuleType] = Kinds("layout", (__package__ or "").rpartition(".")[0], {
    "llamagen": "image.vqgan.layouts.llamagen",
    "janus-vq16": "image.vqgan.layouts.janus",
    "janus_vqgan-hf": "image.vqgan.layouts.janus",
    "chameleon_vqgan-hf": "image.vqgan.layouts.chameleon",
    "apertus1p5_vision_tokenizer-hf": "image.vqgan.layouts.apertus",
    "maskgit-vqgan": "image.vqgan.layouts.maskgit_vqgan",
    "taming-vqgan": "image.vqgan.layouts.taming",
    "taming-gumbel": "image.vqgan.layouts.taming",
    "ibq": "image.vqgan.layouts.ibq",
    "emu3.5-ibq": "image.vqgan.layouts.emu3_5",
    "open-magvit2": "image.vqgan.layouts.open_magvit2",
    "maskbit": "image.vqgan.layouts.maskbit",
    "simvq": "image.vqgan.layouts.simvq",
    "movqgan": "image.vqgan.layouts.movqgan",
    "showo-magvitv2": "image.vqgan.layouts.showo",
    "wetok": "image.vqgan.layouts.wetok",
    "bitdance-ae": "image.vqgan.layouts.bitdance",
    "elm-bae": "image.vqgan.layouts.elm_bae",
    "iter": "image.vqgan.layouts.iter",
    "iter-restoration": "image.iter.layouts",
    "cosmos-di": "image.vqgan.layouts.cosmos",
    "paella-vq": "image.paella.layouts",
    "sftok": "image.sftok.layouts",
    "flowmo": "image.flowmo.layouts",
    "detailflow": "image.detailflow.layouts",
    "qlip": "image.qlip.layouts",
    "vfmtok": "image.vfmtok.layouts",
    "ta-tok": "image.ta_tok.layouts",
    "dalle-dvae": "image.dalle_dvae.layouts",
    "cosmos-dv": "image.cosmos_dv.layouts",
    "vidtok": "image.vidtok.layouts",
    "diffusers-autoencodervidtok": "image.vidtok.layouts_diffusers",
    "diffusers-vqmodel": "image.vqgan.layouts.diffusers_vq",
    "diffusers-autoencoderkl": "image.kl_tokens.layouts.diffusers_kl",
    "emu3-vq": "image.emu3.layouts",
    "emu3_vqgan-hf": "image.emu3.layouts",
    "tokenbridge": "image.kl_tokens.layouts.tokenbridge",
    "infinity-vae": "image.var.layouts.infinity",
    "var": "image.var.layouts.var",
    "encodec": "audio.encodec.layouts",
    "encodec-48k": "audio.encodec.layouts",
    "encodec-audiocraft": "audio.encodec.layouts",
    "encodec-hf": "audio.encodec.layouts",
    "dac": "audio.dac.layouts",
    "dac-hf": "audio.dac.layouts",
    "maskgct-acoustic": "audio.dac.layouts_maskgct",
    "maskgct-semantic": "audio.repcodec.layouts",
    "snac": "audio.snac.layouts",
    "speechtokenizer": "audio.speechtokenizer.layouts.speechtokenizer",
    "dm-codec": "audio.speechtokenizer.layouts.dm_codec",
    "bigcodec": "audio.bigcodec.layouts",
    "wavtokenizer": "audio.wavtokenizer.layouts",
    "wavtokenizer-hf": "audio.wavtokenizer.layouts",
    "unicodec": "audio.wavtokenizer.layouts_unicodec",
    "sq-codec": "audio.sq_codec.layouts",
    "hificodec": "audio.hificodec.layouts",
    "mimi": "audio.mimi.layouts",
    "xcodec": "audio.xcodec.layouts.xcodec",
    "xcodec-hf": "audio.xcodec.layouts.xcodec",
    "higgs-audio-v2": "audio.xcodec.layouts.higgs",
    "higgs_audio_v2_tokenizer-hf": "audio.xcodec.layouts.higgs",
    "xcodec2": "audio.xcodec2.layouts.xcodec2",
    "xcodec2-hf": "audio.xcodec2.layouts.xcodec2",
    "neucodec": "audio.xcodec2.layouts.neucodec",
    "neucodec-hf": "audio.xcodec2.layouts.neucodec",
    "dualcodec": "audio.dualcodec.layouts",
    "flexicodec": "audio.flexicodec.layouts",
    "h-codec-1.0": "audio.hcodec.layouts.hcodec_1_0",
    "h-codec-1.5": "audio.hcodec.layouts.hcodec_1_5",
    "h-codec-2.0": "audio.hcodec.layouts.hcodec_2_0",
    "nemo-audio-codec": "audio.nemo_codec.layouts",
    "stable-codec": "audio.stable_codec.layouts.stable_codec",
    "stable-codec-fsq": "audio.stable_codec.layouts.stable_fsq",
    "longcat-audio-codec": "audio.longcat.layouts",
    "songgeneration": "audio.levo.layouts",
    "ustokenizer": "audio.ustokenizer.layouts",
    "kmeans-units": "audio.speech_units.layouts",
    "s3tokenizer": "audio.s3.layouts",
    "s3tokenizer-onnx": "audio.s3.layouts",
    "glm-4-voice": "audio.glm_voice.layouts",
    "xy-tokenizer": "audio.xy.layouts",
    "xy_tokenizer-hf": "audio.xy.layouts",
    "mimo-audio": "audio.mimo_audio.layouts",
    "bicodec": "audio.bicodec.layouts",
    "fish-s1": "audio.fish.layouts",
    "kanade": "audio.kanade.layouts",
    "miocodec": "audio.kanade.layouts",
    "magicodec": "audio.magicodec.layouts",
    "focalcodec": "audio.focalcodec.layouts",
    "focalcodec-causal": "audio.focalcodec.layouts",
    "qwen3-tts-tokenizer-12hz": "audio.qwen3_tts.layouts",
    "moss-audio-tokenizer": "audio.moss.layouts",
    "mimi-hf": "audio.mimi.layouts",
    "titok": "image.titok.layouts.titok",
    "titok-legacy": "image.titok.layouts.titok",
    "one-d-piece": "image.titok.layouts.one_d_piece",
    "tatitok": "image.titok.layouts.tatitok",
    "bsq-vit": "image.bsq_vit.layouts",
    "instella-bae": "image.instella.layouts",
    "uniwetok": "image.uniwetok.layouts",
    "imagefolder": "image.xqgan.layouts.imagefolder",
    "robustok": "image.xqgan.layouts.robustok",
    "flextok": "image.flextok.layouts",
    "comit": "image.comit.layouts",
    "karl": "image.karl.layouts",
    "alit": "image.alit.layouts",
    "retok": "image.retok.layouts.retok",
    "gigatok": "image.retok.layouts.gigatok",
    "cubid": "image.rae.layouts",
    "tokenflow": "image.tokenflow.layouts",
    "dualvitok": "image.dualvitok.layouts",
    "dualtoken": "image.dualtoken.layouts",
    "unitok": "image.unitok.layouts",
    "unitok-quantizer": "image.unitok.layouts",
    "fdt": "image.fdt.layouts",
    "4m-vqvae": "image.fourm.layouts",
    "4m-divae": "image.fourm.layouts",
    "seed2": "image.seed2.layouts",
    "seed2-quantizer": "image.seed2.layouts",
    "glm_image-hf": "image.glm_image.layouts",
    "longcat-next": "image.longcat_next.layouts",
    "longcat-next-rq": "image.longcat_next.layouts",
})  # fmt: skip


def systems() -> tuple[str, ...]:
    """Names of all registered layouts, sorted."""
    return SYSTEMS.names()


def converter(system: str) -> Layout:
    """Return the layout of `system`, or raise ConfigError with the nearest names."""
    return next(entry for entry in SYSTEMS.resolve(system).LAYOUTS if entry.system == system)


#: Layouts whose configs name another class or none: checked first, by `Layout.recognises`.
RECOGNISED = ("xcodec2",)

#: Classes that a `config.json` names under `_class_name` (diffusers) or `architectures` (remote code of the hub).
_CLASSES = {
    "VQModel": "diffusers-vqmodel",
    "AutoencoderKL": "diffusers-autoencoderkl",
    "MAGVITv2": "showo-magvitv2",
    "AutoencoderVidTok": "diffusers-autoencodervidtok",
    "PaellaVQModel": "paella-vq",
    "QLIPModel": "qlip",
    "MossAudioTokenizerModel": "moss-audio-tokenizer",
    "WhisperVQEncoder": "glm-4-voice",
    "MiMoAudioTokenizer": "mimo-audio",
}


def system_of_config(config: Mapping[str, Any]) -> str | None:
    """The system that a `config.json` of transformers, diffusers or the hub's remote code names, or None."""
    for system in RECOGNISED:
        recognises = converter(system).recognises
        if recognises and recognises(config):
            return system
    named, kind = config.get("architectures"), str(config.get("model_type"))
    classes = [config.get("_class_name"), *(named if isinstance(named, list) else [])]
    found = [_CLASSES.get(str(c)) for c in classes]
    return next((s for s in (*found, f"{kind}-hf", kind, kind.replace("_", "-")) if s in SYSTEMS), None)


def candidates(config: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Systems that may have written `config`, likeliest first.

    Returns:
        Systems of the repository under its key `source`, ordered by the similarity of their class name to the one given there,
        and True; if there are none, all systems and False.
    """
    source = config.get("source")
    source = source if isinstance(source, Mapping) else {}
    repository, words = str(source.get("repo", "")).lower(), set(re.findall(r"\w+", str(source.get("class", ""))))

    def alike(system: str) -> int:
        return -len(words & set(re.findall(r"\w+", converter(system).upstream.partition(" ")[2])))

    named = [s for s in systems() if converter(s).upstream.split()[0].lower() == repository]
    return sorted(named, key=alike) or list(systems()), bool(named)
