"""Foreign weight files, read without running anything that stands in them."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...codecs.serialize import CheckpointError

#: Keys under which training frameworks keep the state dict of a checkpoint, in the order in which they are tried.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "best_state", "params")


def read_torch(path: Path) -> dict[str, Any]:
    """Return the state dict of a `.pt`, `.pth`, `.th`, `.ckpt` or `.bin` file: tensors only, `weights_only=True`.

    Raises:
        CheckpointError: the file is broken, or holds objects that only unpickling could build.
    """
    if path.suffix == ".jit":
        from .torchscript import read_torchscript

        return read_torchscript(path)
    try:
        # In-memory files are only bytes; X-codec's checkpoints hold one among the tensors. They are left out below.
        with torch.serialization.safe_globals([io.BytesIO]):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{path} cannot be read without running code that stands in it ({error}). Convert it to safetensors in a "
            "sandbox, with the authors' own tools, and load that."
        ) from error
    while isinstance(data, dict) and not any(isinstance(v, torch.Tensor) for v in data.values()):
        inner = next((data[k] for k in _WRAPPERS if isinstance(data.get(k), dict)), None)
        if inner is None:
            return data  # several state dicts side by side: the converter knows their names
        data = inner
    return {k: v for k, v in data.items() if not isinstance(v, io.BytesIO)} if isinstance(data, dict) else data


def read_shards(index: Path, file: Callable[[str], Path]) -> dict[str, torch.Tensor]:
    """Return the state dict of weights that were cut into several safetensors files.

    Args:
        index: the JSON file that says which file holds which tensor (`weight_map`).
        file: local path of a file, by the name that the index gives it.

    Raises:
        CheckpointError: not an index, or a file lacks a tensor that the index places in it.
    """
    from safetensors.torch import load_file

    try:
        places: dict[str, str] = json.loads(index.read_text())["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index} is not an index of safetensors files (it has no weight_map).") from error
    out: dict[str, torch.Tensor] = {}
    for name in sorted(set(places.values())):
        out |= load_file(file(name))
    if missing := sorted(places.keys() - out.keys()):
        raise CheckpointError(f"{index} promises {missing[0]!r}, but {places[missing[0]]} does not hold it.")
    return out
