"""Reads the files of a checkpoint: configs, weights in every format, archives; no name in them leads outside their folder."""

import math
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ..codecs.config import check_depth, parse_json
from ..codecs.serialize import MAX_CONFIG_BYTES, CheckpointError
from .pickled_arrays import is_pickle, read_arrays
from .torch_files import read_torch, read_torch_bytes

#: Names under which libraries and authors keep a tokenizer's weights, in the order in which they are tried.
WEIGHT_NAMES = (
    "model.safetensors", "weights.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.safetensors",
    "model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin", "diffusion_pytorch_model.bin", "pytorch_model.bin.index.json", "diffusion_pytorch_model.bin.index.json",
)  # fmt: skip
#: Endings of files of weights, whatever their name.
WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".th", ".jit", ".nemo")
CONFIG_ENDINGS = (".json", ".yaml", ".yml")

#: A function from the keys of a file to those that are requested, each with its new name.
Wanted = Callable[[list[str]], Mapping[str, str]]


def is_config(name: str) -> bool:
    """True for a file that holds settings, False for one that holds weights."""
    return name.endswith(CONFIG_ENDINGS) and not name.endswith(".index.json")


def read_settings(path: Path) -> dict[str, Any]:
    """Return a downloaded JSON or YAML file as plain values; `${...}` in it stays text.

    Raises:
        CheckpointError: it is not valid, holds no mapping, or is larger than `MAX_CONFIG_BYTES`.
    """
    if (size := path.stat().st_size) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path} has {size} bytes; a config has {MAX_CONFIG_BYTES} at most.")
    return parse_settings(path.read_bytes(), str(path))


def parse_settings(data: bytes, name: str) -> dict[str, Any]:
    """`read_settings` of the bytes of a file; its `name` ends in .json, .yaml or .yml."""
    try:
        if name.endswith(".json"):
            values = parse_json(data)
        else:
            from omegaconf import OmegaConf

            values = OmegaConf.to_container(OmegaConf.create(data.decode()), resolve=False)
            check_depth(values)
    except Exception as error:  # each library has errors of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise CheckpointError(f"{name} is no valid config ({reason}); download or copy it again.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{name} holds no settings by name, but {type(values).__name__}.")
    return {str(k): v for k, v in values.items()}


def read_weights(name: str, file: Callable[[str], Path], *, wanted: Wanted | None = None) -> dict[str, Any]:
    """Return the weights of one file, or of the files that an index names.

    Args:
        name: file name in its folder.
        file: returns the local path of a file of the folder, downloaded if necessary.
        wanted: selects and renames keys; of the files of an index, only those with a requested key are fetched. None: all keys.

    Returns:
        Key -> tensor. A PyTorch file may hold several nested state dicts: they are returned as saved, and the layout selects one.
    """
    if name.endswith(".index.json"):
        return _read_index(name, file, wanted)
    path = file(name)
    if name.endswith(".safetensors"):
        return read_safetensors(path, wanted)
    data: Any
    if name.endswith(".onnx"):
        from .onnx_files import read_onnx

        data = read_onnx(path)
    elif name.endswith(".mvn"):
        from .kaldi_files import read_statistics

        data = read_statistics(path)
    else:
        data = _read_npy(path) if name.endswith(".npy") else read_arrays(path) if is_pickle(path) else read_torch(path)
    data = {"": data} if isinstance(data, Tensor) else data
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no weights by name, but {type(data).__name__}.")
    if wanted is None:
        return data
    return {new: data[old] for old, new in wanted([str(k) for k in data]).items()}


def read_safetensors(path: Path, wanted: Wanted | None = None) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file, memory-mapped; `wanted` selects and renames keys."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            keys = list(opened.keys())
            chosen = {k: k for k in keys} if wanted is None else wanted(keys)
            return {new: opened.get_tensor(old) for old, new in chosen.items()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is broken ({str(error).splitlines()[0][:200]}); download or copy it again.") from error


def _read_npy(path: Path) -> dict[str, Tensor]:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise CheckpointError(f"{path} is no array that can be read ({str(error).splitlines()[0][:200]}).") from error
    return {"": torch.from_numpy(array)}  # the prefix that the card gives the file becomes its key


def _read_index(name: str, file: Callable[[str], Path], wanted: Wanted | None) -> dict[str, Any]:
    index = read_settings(file(name))
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise CheckpointError(f"{name} is not an index of weight files (it has no weight_map of names).")
    folder = str(PurePosixPath(name).parent)
    chosen = {k: k for k in places} if wanted is None else wanted(list(places))
    out: dict[str, Any] = {}
    for shard in sorted({places[k] for k in chosen}):
        if PurePosixPath(shard).name != shard or shard in ("", ".", ".."):
            raise CheckpointError(f"{name} places weights in {shard!r:.300}; only files beside the index are read.")
        mine = {old: new for old, new in chosen.items() if places[old] == shard}
        inner = shard if folder == "." else f"{folder}/{shard}"
        out |= read_weights(inner, file, wanted=lambda keys, mine=mine: {k: mine[k] for k in keys if k in mine})
    if missing := sorted(set(chosen.values()) - out.keys()):
        raise CheckpointError(f"{name} promises {missing[0]!r}, but no file beside it holds that.")
    return out


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The bytes of a member that is a file."""
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def read_nemo(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config and weights of a `.nemo` archive (its members model_config.yaml, model_weights.ckpt), without unpacking to disk.

    Raises:
        CheckpointError: it is no tar archive, or a member is missing or far larger than the archive.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            members = {PurePosixPath(m.name).name: m for m in archive if m.isfile() and len(PurePosixPath(m.name).parts) == 1}
            config, weights = members.get("model_config.yaml"), members.get("model_weights.ckpt")
            if config is None or weights is None:
                there = ", ".join(sorted(members)[:8])
                raise CheckpointError(f"{path} holds no model_config.yaml and model_weights.ckpt; it holds {there}.")
            whole = path.stat().st_size
            if config.size > MAX_CONFIG_BYTES or weights.size > 8 * whole + (1 << 20):
                raise CheckpointError(f"{path} holds a member far larger than the archive; it is not read.")
            settings = parse_settings(_member(archive, config), "model_config.yaml")
            if weights.offset_data + weights.size <= whole and _is_plain(path):
                return settings, read_torch(path, start=weights.offset_data, size=weights.size)
            return settings, read_torch_bytes(_member(archive, weights), f"{path}: model_weights.ckpt")
    except (tarfile.TarError, EOFError, OSError, struct.error) as error:
        raise CheckpointError(f"{path} is no archive that can be read ({str(error).splitlines()[0][:200]}).") from error


def _is_plain(path: Path) -> bool:
    """True for a tar that is not compressed: its members are stored uncompressed in the file."""
    with path.open("rb") as file:
        return file.read(262)[257:262] == b"ustar"


def only_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` without values that are neither tensors nor dictionaries, such as step counters, settings and texts."""
    out: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            out[str(key)] = value
        elif isinstance(value, Mapping):
            out[str(key)] = only_tensors(value)
    return out


def count_tensors(state: Mapping[str, Any]) -> int:
    """Number of tensors in a state dict, nested ones included."""
    return sum(count_tensors(v) if isinstance(v, Mapping) else isinstance(v, Tensor) for v in state.values())


def count_numbers(state: Mapping[str, Any]) -> int:
    """Number of weights in all tensors of a state dict, nested ones included."""
    return sum(count_numbers(v) if isinstance(v, Mapping) else v.numel() if isinstance(v, Tensor) else 0 for v in state.values())


def size_in_bytes(state: Mapping[str, Any]) -> int:
    """Bytes of all tensors of a state dict in their types."""
    return sum(
        size_in_bytes(v) if isinstance(v, Mapping) else math.prod(v.shape) * v.dtype.itemsize
        for v in state.values()
        if isinstance(v, (Mapping, Tensor))
    )
