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
from .base import Converter

# system -> module that holds its `Converter` in the tuple CONVERTERS. A new layout is one file and its lines here.
_SYSTEMS: dict[str, str] = {
}


def systems() -> tuple[str, ...]:
    """All foreign layouts that can be read."""
    return tuple(sorted(_SYSTEMS))


def converter(system: str) -> Converter:
    """Return the converter of `system`, or raise ValueError naming the nearest ones."""
    if system not in _SYSTEMS:
        raise ValueError(f"no converter for {system!r}.{nearest(system, list(_SYSTEMS))}")
    module = importlib.import_module(f".{_SYSTEMS[system]}", __name__)
    return next(c for c in module.CONVERTERS if c.system == system)


def load_reference(folder: str | os.PathLike[str]) -> Tokenizer:
    """Build a tokenizer from a folder in its authors' terms.

    Args:
        folder: holds `config.json` (the authors' constructor arguments; its key `source` may name repository and class)
            and `weights.safetensors` or `model.safetensors` in the authors' keys. The folder's name is the system's, or
            begins with it.

    Returns:
        The tokenizer, in eval mode, every weight filled in strictly.

    Raises:
        ValueError: no converter for this system. CheckpointError: weights missing, left over or misshapen.
    """
    folder = Path(folder)
    config_path = folder / "config.json"
    weights = next((p for n in ("weights.safetensors", "model.safetensors") if (p := folder / n).is_file()), None)
    if not config_path.is_file() or weights is None:
        raise CheckpointError(f"{folder} must hold config.json and weights.safetensors (or model.safetensors).")
    return convert(_system_of(folder), json.loads(config_path.read_text()), _read(weights), name=str(weights))


def convert(system: str, config: dict[str, Any], state: dict[str, Any], *, name: str = "checkpoint") -> Tokenizer:
    """Build the tokenizer of `system` from the authors' config and state dict; strict both ways."""
    entry = converter(system)
    own_config = entry.config(config)
    tokenizer = build_tokenizer(entry.family, own_config)
    load_strict(tokenizer, entry.weights(state, config), name)
    return tokenizer.eval()


def _system_of(folder: Path) -> str:
    name = folder.resolve().name
    known = [s for s in _SYSTEMS if name == s or name.startswith(s + "-") or name.startswith(s + "_")]
    return max(known, key=len) if known else name


def _read(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)
