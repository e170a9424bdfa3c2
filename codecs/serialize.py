"""Save and load a tokenizer as a folder of `config.json` (family, config, spec, library version) and `model.safetensors`, strictly."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch

from .building import build_around
from .config import ConfigError, parse_json, to_mapping
from .families import FAMILIES
from .files import write_bytes, write_text
from .tokenizer import Tokenizer
from .version import __version__
from .weights import CheckpointError as CheckpointError
from .weights import check_shapes as check_shapes
from .weights import load_strict as load_strict
from .wrapping import unwrap

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
#: Settings and weights of discriminators beside a tokenizer, which only training reads.
DISCRIMINATOR_FILES = ("discriminators.json", "discriminators.safetensors")
FORMAT = 1
MAX_CONFIG_BYTES = 16 << 20
#: Texts about the weights that are saved with them.
_PROVENANCE = ("licence", "origin", "trained_from")


def config_dict(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of `config.json`: library and format version, family, config and spec; where it is known, licence and origin."""
    return {
        "library_name": "tokenzoo",
        "library_version": __version__,
        "format": FORMAT,
        "family": FAMILIES.name_of(type(tokenizer)),
        "config": to_mapping(tokenizer.config),
        "spec": {"modality": tokenizer.spec.modality, **dataclasses.asdict(tokenizer.spec)},
        **{name: value for name in _PROVENANCE if (value := getattr(tokenizer, name))},
    }


def save_folder(tokenizer: Tokenizer, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> Path:
    """Write `tokenizer` into `folder` (made if missing); `dtype`, e.g. `torch.float16`, halves the file.

    Each file is written atomically. Of a wrapped tokenizer (`torch.compile`, `DataParallel`) the inner one is written.

    Raises:
        ValueError: half a tokenizer, no tokenizer, or one whose weights are spread over processes; nothing is written.
    """
    from safetensors.torch import save

    tokenizer = unwrap(tokenizer)
    if tokenizer.part:
        raise ValueError(f"this tokenizer holds its {tokenizer.part} alone and cannot be saved; load it without `part`.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for name, value in tokenizer.state_dict().items():
        value = value.detach().cpu()
        state[name] = value.to(dtype).contiguous() if dtype and value.is_floating_point() else value.contiguous()
    write_bytes(folder / WEIGHTS_NAME, save(state, metadata={"format": "pt"}))
    write_text(folder / CONFIG_NAME, json.dumps(config_dict(tokenizer), indent=2, sort_keys=False) + "\n")
    return folder


def load_folder(folder: str | os.PathLike[str], *, part: Any = None) -> Tokenizer:
    """Build the tokenizer that `folder` holds, in eval mode and float32; `part` as in `build_around`.

    Raises:
        CheckpointError: a file is missing or broken, or weights are missing, left over or of another shape.
        ConfigError: unknown family or config key.
    """
    folder = Path(folder)
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {CONFIG_NAME}; pass a folder that save_pretrained wrote.")
    return from_parts(read_config(path), folder / WEIGHTS_NAME, part=part)


def read_config(path: Path) -> dict[str, Any]:
    """Read and check a `config.json` that `save_folder` wrote; raises CheckpointError."""
    if (size := path.stat().st_size) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path} has {size} bytes; a config has {MAX_CONFIG_BYTES} at most.")
    try:
        data = parse_json(path.read_bytes())
    except ConfigError as error:
        raise CheckpointError(f"{path} is no valid config: {error} Download or copy it again.") from error
    if not isinstance(data, dict) or "family" not in data or "config" not in data:
        raise CheckpointError(f"{path} is no tokenzoo config: the keys 'family' and 'config' are missing.")
    if type(data.get("format", FORMAT)) is not int or data.get("format", FORMAT) > FORMAT:
        raise CheckpointError(f"{path} has format {data['format']!r:.40}; this library reads {FORMAT}. Update tokenzoo.")
    if not isinstance(data["config"], dict):
        raise CheckpointError(f"{path}: 'config' is a {type(data['config']).__name__}; it must be a mapping of settings.")
    return data


def from_parts(data: dict[str, Any], weights: Path, *, part: Any = None) -> Tokenizer:
    """Build the tokenizer that `data` (from `read_config`) describes and load the file `weights`, strictly.

    Args:
        data: from `read_config`.
        weights: a safetensors file.
        part: as in `build_around`.

    Raises:
        CheckpointError: the file is missing or broken, or weights are missing, left over or of another shape.
        ConfigError: unknown family or config key.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not weights.is_file():
        raise CheckpointError(f"the weights {weights} are missing.")
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights} is broken ({error!s:.300}); download or copy it again.") from error
    try:
        numbers = sum(v.numel() for v in state.values())
        tokenizer = build_around(
            data["family"], data["config"], lambda _: state, str(weights), count=len(state), numbers=numbers, part=part
        )
    except ConfigError as error:
        raise ConfigError(f"{weights.parent / CONFIG_NAME}: {error}") from error
    for name in _PROVENANCE:
        value = data.get(name, "")
        setattr(tokenizer, name, value[:500] if isinstance(value, str) else "")
    return tokenizer
