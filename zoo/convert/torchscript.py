"""The weights of a TorchScript archive (`.jit`), read without running its code.

An archive is a zip: `*/data.pkl` describes the module tree, `*/data/N` are the raw bytes of tensor storages. Only
tensors and plain containers are rebuilt; modules become dictionaries of their attributes, and nothing that stands in
the file is imported or called.
"""

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...codecs.serialize import CheckpointError

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Node:
    """A scripted object: only its attributes are kept."""

    def __init__(self, *args: Any) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state) if isinstance(state, dict) else {}


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a TorchScript file: every tensor by its path through the modules.

    Raises:
        CheckpointError: not such an archive, or one that holds anything but tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = next((n for n in archive.namelist() if n.count("/") == 1 and n.endswith("/data.pkl")), None)
            if pickled is None:
                raise CheckpointError(f"{path} is no TorchScript archive: it holds no data.pkl.")
            root = _Reader(archive, pickled.removesuffix("data.pkl")).load()
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as a TorchScript archive ({error}).") from error
    out: dict[str, Tensor] = {}
    _collect(root, "", out)
    return out


class _Reader(pickle.Unpickler):
    """An unpickler that knows tensors, storages and ordered dictionaries, and calls nothing else."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.open(folder + "data.pkl"))
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Node
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle":  # lists of plain numbers and strings, and values with a type tag
            return lambda value, *rest: value
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to {kind!r}")
        data = bytearray(self.archive.read(f"{self.folder}data/{key}"))
        return torch.frombuffer(data, dtype=dtype)[:count] if data else torch.empty(0, dtype=dtype)


def _rebuild(storage: Tensor, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset).clone()


def _collect(node: Any, prefix: str, out: dict[str, Tensor]) -> None:
    for name, value in node.attributes.items() if isinstance(node, _Node) else ():
        if isinstance(value, Tensor):
            out[prefix + name] = value
        else:
            _collect(value, f"{prefix}{name}.", out)
