"""Checkpoints of other projects in their authors' own layout. One file a layout; each maps names in one visible table.

    from tokenzoo.zoo.convert import load_reference
    tok = load_reference("folder/encodec")      # config.json in the authors' terms + weights.safetensors in their keys
"""

import importlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...codecs.config import nearest
from ...codecs.tokenizer import Tokenizer
from .tools.layout import Layout

# system -> module that holds its `Layout` in the tuple LAYOUTS. A new layout is one file and its lines here.
_SYSTEMS: dict[str, str] = {
    "llamagen": "llamagen",
    "janus-vq16": "janus",
    "janus_vqgan-hf": "janus",
    "chameleon_vqgan-hf": "chameleon",
    "apertus1p5_vision_tokenizer-hf": "apertus",
    "maskgit-vqgan": "maskgit_vqgan",
    "taming-vqgan": "taming",
    "taming-gumbel": "taming",
    "ibq": "ibq",
    "emu3.5-ibq": "emu3_5",
    "open-magvit2": "open_magvit2",
    "wetok": "wetok",
    "bitdance-ae": "bitdance",
    "elm-bae": "elm_bae",
    "iter": "iter",
    "cosmos-di": "cosmos",
    "diffusers-vqmodel": "diffusers_vq",
    "diffusers-autoencoderkl": "diffusers_kl",
    "emu3-vq": "emu3",
    "emu3_vqgan-hf": "emu3",
    "tokenbridge": "tokenbridge",
    "infinity-vae": "infinity",
    "var": "var",
    "encodec": "encodec",
    "encodec-48k": "encodec",
    "encodec-audiocraft": "encodec",
    "encodec-hf": "encodec",
    "dac": "dac",
    "dac-hf": "dac",
    "snac": "snac",
    "speechtokenizer": "speechtokenizer",
    "dm-codec": "dm_codec",
    "bigcodec": "bigcodec",
    "wavtokenizer": "wavtokenizer",
    "wavtokenizer-hf": "wavtokenizer",
    "sq-codec": "sq_codec",
    "hificodec": "hificodec",
    "mimi": "mimi",
    "xcodec": "xcodec",
    "xcodec-hf": "xcodec",
    "xcodec2": "xcodec2",
    "xcodec2-hf": "xcodec2",
    "neucodec": "neucodec",
    "neucodec-hf": "neucodec",
    "dualcodec": "dualcodec",
    "h-codec-1.0": "hcodec",
    "nemo-audio-codec": "nemo_codec",
    "stable-codec": "stable_codec",
    "stable-codec-fsq": "stable_fsq",
    "longcat-audio-codec": "longcat",
    "songgeneration": "levo",
    "ustokenizer": "ustokenizer",
    "focalcodec": "focalcodec",
    "focalcodec-causal": "focalcodec",
    "qwen3-tts-tokenizer-12hz": "qwen3_tts",
    "moss-audio-tokenizer": "moss",
    "mimi-hf": "mimi",
    "titok": "titok",
    "titok-legacy": "titok",
    "one-d-piece": "one_d_piece",
    "tatitok": "tatitok",
    "bsq-vit": "bsq_vit",
    "instella-bae": "instella",
    "uniwetok": "uniwetok",
    "imagefolder": "imagefolder",
    "robustok": "robustok",
    "flextok": "flextok",
    "karl": "karl",
    "alit": "alit",
    "retok": "retok",
    "gigatok": "gigatok",
    "cubid": "cubid",
    "tokenflow": "tokenflow",
    "dualvitok": "dualvitok",
    "dualtoken": "dualtoken",
    "unitok": "unitok",
    "unitok-quantizer": "unitok",
    "fdt": "fdt",
    "4m-vqvae": "fourm",
    "4m-divae": "fourm",
    "seed2": "seed2",
    "seed2-quantizer": "seed2",
    "glm_image-hf": "glm_image",
    "longcat-next": "longcat_next",
    "longcat-next-rq": "longcat_next",
}


def systems() -> tuple[str, ...]:
    """All foreign layouts that can be read."""
    return tuple(sorted(_SYSTEMS))


def converter(system: str) -> Layout:
    """Return the layout of `system`, or raise ValueError naming the nearest ones."""
    if system not in _SYSTEMS:
        raise ValueError(f"no converter for {system!r}.{nearest(system, list(_SYSTEMS))}")
    module = importlib.import_module(f".{_SYSTEMS[system]}", __name__)
    return next(entry for entry in module.LAYOUTS if entry.system == system)


def load_reference(folder: str | os.PathLike[str]) -> Tokenizer:
    """Build a tokenizer from a folder in its authors' terms.

    Args:
        folder: holds `config.json` (the authors' constructor arguments; its key `source` may name repository and class) and
            weights in the authors' keys, under any usual name. What it contains decides, not how it is called.

    Returns:
        The tokenizer, in eval mode, every weight filled in strictly.

    Raises:
        ValueError: no layout fits. CheckpointError: weights missing, left over or misshapen.
    """
    from ..loader import Folder, load_files

    return load_files(Folder(Path(folder)))


def convert(system: str, config: Mapping[str, Any], state: Mapping[str, Any], *, name: str = "checkpoint") -> Tokenizer:
    """Build the tokenizer of `system` from the authors' config and state dict; strict both ways."""
    from ..loader import build

    return build(system, config, state, name)


#: Classes that a `config.json` names under `_class_name` (diffusers) or `architectures` (remote code of the hub).
_CLASSES = {
    "VQModel": "diffusers-vqmodel",
    "AutoencoderKL": "diffusers-autoencoderkl",
    "MossAudioTokenizerModel": "moss-audio-tokenizer",
}


def system_of_config(config: Mapping[str, Any]) -> str | None:
    """The system that a `config.json` of transformers, diffusers or the hub's remote code names, or None."""
    from .xcodec2 import is_xcodec2

    if is_xcodec2(config):  # copies of it say `model_type: "xcodec"`
        return "xcodec2"
    named, kind = config.get("architectures"), str(config.get("model_type"))
    classes = [config.get("_class_name"), *(named if isinstance(named, list) else [])]
    found = [_CLASSES.get(str(c)) for c in classes]
    return next((s for s in (*found, f"{kind}-hf", kind, kind.replace("_", "-")) if s in _SYSTEMS), None)


def candidates(config: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Systems that may have written `config`, and whether it says so: those of the repository that its `source` names, by the
    likeness of their class to the one named there; else all."""
    source = config.get("source")
    source = source if isinstance(source, Mapping) else {}
    repository, words = str(source.get("repo", "")).lower(), set(re.findall(r"\w+", str(source.get("class", ""))))

    def alike(system: str) -> int:
        return -len(words & set(re.findall(r"\w+", converter(system).upstream.partition(" ")[2])))

    named = [s for s in systems() if converter(s).upstream.split()[0].lower() == repository]
    return sorted(named, key=alike) or list(systems()), bool(named)
