"""A tokenizer as a folder: `config.json` (family, config, spec, library version) and `model.safetensors`, strict both ways."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .config import ConfigError, to_mapping
from .layers.causal import lay_out_weights
from .tokenizer import Tokenizer

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that does not fit: missing, extra or misshapen weights, or not a tokenizer at all."""


def config_dict(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `config.json` holds."""
    from .. import __version__

    return {
        "library_name": "tokenzoo",
        "library_version": __version__,
        "format": FORMAT,
        "family": tokenizer.family,
        "config": to_mapping(tokenizer.config),
        "spec": {"modality": tokenizer.spec.modality, **dataclasses.asdict(tokenizer.spec)},
    }


def save_folder(tokenizer: Tokenizer, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> Path:
    """Write `tokenizer` into `folder` (made if missing); `dtype`, e.g. `torch.float16`, halves the file.

    Each file is written whole or not at all.
    """
    from safetensors.torch import save

    if tokenizer.part:
        raise ValueError(f"this tokenizer holds its {tokenizer.part} alone and cannot be saved; load it without `part`.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for name, value in tokenizer.state_dict().items():
        value = value.detach().cpu()
        state[name] = value.to(dtype).contiguous() if dtype and value.is_floating_point() else value.contiguous()
    replace_file(folder / WEIGHTS_NAME, save(state, metadata={"format": "pt"}))
    text = json.dumps(config_dict(tokenizer), indent=2, sort_keys=False) + "\n"
    replace_file(folder / CONFIG_NAME, text.encode())
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
    """Read and check a `config.json` of this project's layout."""
    try:
        data = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(data, dict) or "family" not in data or "config" not in data:
        raise CheckpointError(f"{path} is no tokenzoo config: the keys 'family' and 'config' are missing.")
    if data.get("format", FORMAT) > FORMAT:
        raise CheckpointError(f"{path} has format {data['format']}; this library reads {FORMAT}. Update tokenzoo.")
    return data


def from_parts(data: dict[str, Any], weights: Path, *, part: Any = None) -> Tokenizer:
    """Build the tokenizer of a read `config.json` and fill in `weights`, strictly; `part` as in `build_around`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from .building import build_around

    if not weights.is_file():
        raise CheckpointError(f"the weights {weights} are missing.")
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights} is broken ({error}); download or copy it again.") from error
    try:
        return build_around(data["family"], data["config"], lambda _: state, str(weights), count=len(state), part=part)
    except ConfigError as error:
        raise ConfigError(f"{weights.parent / CONFIG_NAME}: {error}") from error


def load_strict(tokenizer: torch.nn.Module, state: Mapping[str, torch.Tensor], name: str) -> None:
    """Fill in every weight; missing, extra and misshapen ones are named in one error."""
    check_shapes(tokenizer, state, name)
    own = tokenizer.state_dict()
    tokenizer.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, strict=True)
    lay_out_weights(tokenizer)


def check_shapes(tokenizer: torch.nn.Module, state: Mapping[str, torch.Tensor], name: str) -> None:
    """Raise CheckpointError where weights are missing, left over or misshapen; all are named in one message."""
    own = tokenizer.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [
        f"{k} has shape {list(state[k].shape)}, expected {list(own[k].shape)}"
        for k in sorted(own.keys() & state.keys())
        if own[k].shape != state[k].shape
    ]
    problems = [f"missing: {_some(missing)}"] if missing else []
    problems += [f"not expected: {_some(extra)}"] if extra else []
    problems += [_some(wrong)] if wrong else []
    if problems:
        raise CheckpointError(f"{name} does not fit {type(tokenizer).__name__}; {'; '.join(problems)}.")


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def replace_file(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)
