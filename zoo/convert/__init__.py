"""Checkpoints of other projects in their authors' own layout. One file a layout; each maps names in one visible table.

    from tokenzoo.zoo.convert import load_reference
    tok = load_reference("folder/encodec")      # config.json in the authors' terms + weights.safetensors in their keys
"""

import importlib
import json
import os
from pathlib import Path
from typing import Any

from ...codecs.config import nearest
from ...codecs.families import build_tokenizer
from ...codecs.serialize import CheckpointError, load_strict
from ...codecs.tokenizer import Tokenizer
from .base import Converter, start_codebooks
from .tools.layout import Layout

# system -> module that holds its `Converter` in the tuple CONVERTERS. A new layout is one file and its lines here.
_SYSTEMS: dict[str, str] = {
    "llamagen": "llamagen",
    "maskgit-vqgan": "llamagen",
    "taming-vqgan": "taming",
    "taming-gumbel": "taming",
    "ibq": "taming",
    "emu3.5-ibq": "taming",
    "open-magvit2": "magvit2",
    "wetok": "magvit2",
    "bitdance-ae": "magvit2",
    "elm-bae": "block_lists",
    "iter": "block_lists",
    "cosmos-di": "cosmos",
    "diffusers-vqmodel": "diffusers_vq",
    "diffusers-autoencoderkl": "diffusers_kl",
    "emu3-vq": "emu3",
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
    "dm-codec": "speechtokenizer",
    "bigcodec": "bigcodec",
    "wavtokenizer": "wavtokenizer",
    "sq-codec": "sq_codec",
    "hificodec": "hificodec",
    "mimi": "mimi",
    "xcodec": "xcodec",
    "xcodec-hf": "xcodec",
    "xcodec2": "xcodec2",
    "xcodec2-hf": "xcodec2",
    "neucodec": "xcodec2",
    "neucodec-hf": "xcodec2",
    "dualcodec": "dualcodec",
    "h-codec-1.0": "hcodec",
    "nemo-audio-codec": "nemo_codec",
    "stable-codec": "stable_codec",
    "stable-codec-fsq": "stable_fsq",
    "longcat-audio-codec": "longcat",
    "songgeneration": "songgeneration",
    "ustokenizer": "ustokenizer",
    "focalcodec": "focalcodec",
    "focalcodec-causal": "focalcodec",
    "qwen3-tts-tokenizer-12hz": "qwen3_tts",
    "moss-audio-tokenizer": "cat",
    "mimi-hf": "mimi",
    "titok": "titok",
    "titok-legacy": "titok",
    "one-d-piece": "titok",
    "tatitok": "titok",
    "bsq-vit": "bsq_vit",
    "instella-bae": "instella",
    "uniwetok": "uniwetok",
    "imagefolder": "xqgan",
    "robustok": "xqgan",
    "flextok": "flextok",
    "karl": "karl",
    "alit": "karl",
    "retok": "retok",
    "cubid": "rae",
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
    "longcat-next": "longcat_next",
    "longcat-next-rq": "longcat_next",
}


#: Name of diffusers' files of weights.
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"


def systems() -> tuple[str, ...]:
    """All foreign layouts that can be read."""
    return tuple(sorted(_SYSTEMS))


def converter(system: str) -> Layout:
    """Return the layout of `system`, or raise ValueError naming the nearest ones."""
    if system not in _SYSTEMS:
        raise ValueError(f"no converter for {system!r}.{nearest(system, list(_SYSTEMS))}")
    module = importlib.import_module(f".{_SYSTEMS[system]}", __name__)
    entries = getattr(module, "LAYOUTS", ()) or module.CONVERTERS
    return next(c for c in entries if c.system == system)


def load_reference(folder: str | os.PathLike[str]) -> Tokenizer:
    """Build a tokenizer from a folder in its authors' terms.

    Args:
        folder: holds `config.json` (the authors' constructor arguments; its key `source` may name repository and class)
            and `weights.safetensors`, `model.safetensors` or `diffusion_pytorch_model.safetensors` in the authors' keys. The
            folder's name is the system's, or begins with it; where it is none, the config names a class that is known.

    Returns:
        The tokenizer, in eval mode, every weight filled in strictly.

    Raises:
        ValueError: no converter for this system. CheckpointError: weights missing, left over or misshapen.
    """
    folder = Path(folder)
    config_path = folder / "config.json"
    names = ("weights.safetensors", "model.safetensors", DIFFUSERS_WEIGHTS, "model.safetensors.index.json")
    weights = next((p for n in names if (p := folder / n).is_file()), None)
    if not config_path.is_file() or weights is None:
        raise CheckpointError(f"{folder} must hold config.json and weights.safetensors (or model.safetensors).")
    config = json.loads(config_path.read_text())
    system = _system_of(folder)
    if system not in _SYSTEMS:
        system = system_of_config(config) or system
    return convert(system, config, _read(weights), name=str(weights))


def convert(system: str, config: dict[str, Any], state: dict[str, Any], *, name: str = "checkpoint") -> Tokenizer:
    """Build the tokenizer of `system` from the authors' config and state dict; strict both ways."""
    entry = converter(system)
    if isinstance(entry, Converter):
        tokenizer = build_tokenizer(entry.family, entry.config(config))
        own = entry.weights(state, config)
    else:
        own_config = entry.own_config(config)
        tokenizer = build_tokenizer(entry.family, own_config)
        own = entry.read(state, own_config)
    load_strict(tokenizer, start_codebooks(tokenizer, own), name)
    return tokenizer.eval()


#: What diffusers calls its classes in `config.json`.
_DIFFUSERS = {"VQModel": "diffusers-vqmodel", "AutoencoderKL": "diffusers-autoencoderkl"}


def system_of_config(config: dict[str, Any]) -> str | None:
    """The system that a `config.json` of transformers (`model_type`) or diffusers (`_class_name`) names, or None."""
    system = _DIFFUSERS.get(str(config.get("_class_name")), f"{config.get('model_type')}-hf")
    return system if system in _SYSTEMS else None


def _system_of(folder: Path) -> str:
    name = folder.resolve().name
    known = [s for s in _SYSTEMS if name == s or name.startswith(s + "-") or name.startswith(s + "_")]
    return max(known, key=len) if known else name


def _read(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    if path.suffix == ".json":
        from .files import read_shards

        return read_shards(path, lambda name: path.parent / name)
    return load_file(path)
