"""Arrays of pickles that joblib and scikit-learn write, read without executing any code in them.

The centres of a k-means are published as a pickled estimator (`km.bin` of fairseq and textless, `.pt` of SpeechBrain): a pickle in
which joblib puts the bytes of each array behind the description of that array, as a whole compressed or not. As in `torch_files.py`
nothing is imported: objects become their attributes, classes that a file names become inert placeholders, and arrays are returned.

    read_arrays("km.bin")["cluster_centers_"]    # [V, D]

Letters: V number of centres, D their width.
"""

import bz2
import io
import lzma
import math
import pickle
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..codecs.serialize import CheckpointError
from .torch_files import BROKEN, MAX_DEPTH, Inert, InertUnpickler, short

#: Bytes of a file at most; 50,000 centres of width 2048 have 400 MB in float32.
MAX_BYTES = 1 << 30
#: A compressed file may become this many times as long, and 16 MB more; random numbers hardly shrink.
MAX_RATIO = 32
#: First bytes of what joblib compresses with -> a decompressor of it.
_COMPRESSED = {
    b"\x78": zlib.decompressobj, b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31), b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor, b"\x5d\x00\x00": lzma.LZMADecompressor,
}  # fmt: skip
#: How a `torch.save` of versions before 1.6 begins: a pickle, too, but of one number.
_TORCH_BEFORE_1_6 = b"\x80\x02\x8a\x0a"
_NUMBERS = re.compile(r"[fiu][1248]|b1")


def is_pickle(path: Path) -> bool:
    """True for a pickle or a compressed file, which `read_arrays` reads; False for what `torch.save` writes and other files."""
    with path.open("rb") as file:
        head = file.read(8)
    return (head[:1] == b"\x80" and not head.startswith(_TORCH_BEFORE_1_6)) or any(head.startswith(sign) for sign in _COMPRESSED)


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Return the arrays of a file that `joblib.dump` or `pickle.dump` wrote.

    Args:
        path: a pickled estimator, dictionary, list or array; uncompressed, or compressed with zlib, gzip, bz2 or lzma.

    Returns:
        Path of attributes, keys and indices, joined by dots -> array as a tensor; "" for a file that is one array. Whatever is no
        array of numbers is left out.

    Raises:
        CheckpointError: the file is broken, cut off, of a format that is not read, or exceeds one of the limits.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(f"{path} has {size} bytes; pickles of at most {MAX_BYTES} are read.")
        data = path.read_bytes()
        root = _ArrayUnpickler(_uncompressed(data)).run()
        out: dict[str, Tensor] = {}
        _collect(root, "", out, set(), 0)
    except CheckpointError:
        raise
    except (*BROKEN, zlib.error, lzma.LZMAError) as error:
        raise CheckpointError(f"{path} is no pickle of arrays that can be read: {short(error)}") from error
    if not out:
        raise CheckpointError(f"{path} holds no array of numbers.")
    return out


def _uncompressed(data: bytes) -> bytes:
    for sign, decompressor in _COMPRESSED.items():
        if data.startswith(sign):
            stream: Any = decompressor()
            out = stream.decompress(data, min(MAX_BYTES, MAX_RATIO * len(data) + (1 << 24)))
            if not stream.eof:
                raise ValueError(f"it is cut off, or more than {MAX_RATIO} times as long when uncompressed.")
            return out
    return data


class _Numbers(Inert):
    """A NumPy number type: `numpy.dtype(code)` with its byte order as state."""

    code: Any = ""

    def __init__(self, code: Any = "", *rest: Any) -> None:
        self.code = code

    def dtype(self) -> np.dtype:
        """The type. Raises ValueError for one that holds anything but numbers."""
        if not isinstance(self.code, str) or not _NUMBERS.fullmatch(self.code):
            raise ValueError(f"it holds an array of {self.code!r:.40}, not of numbers.")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        return np.dtype(self.code).newbyteorder(order if order in ("<", ">", "=") else "=")


class _Stored(Inert):
    """joblib's description of an array, whose bytes follow in the file."""


class _Array(Inert):
    """An array: built from `pickle`'s state of it, or from the bytes behind joblib's description."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, numbers, by_columns, data = state
        if not isinstance(numbers, _Numbers) or numbers.code in ("O", "O8"):
            return  # names and objects: left out
        self.value = _array(data, shape, numbers.dtype(), "F" if by_columns else "C")


def _of_buffer(data: Any, numbers: Any, shape: Any, order: Any) -> _Array:
    out = _Array()
    if isinstance(numbers, _Numbers):
        out.value = _array(data, shape, numbers.dtype(), order)
    return out


def _array(data: Any, shape: Any, dtype: np.dtype, order: Any) -> np.ndarray:
    if not isinstance(data, bytes) or len(data) != _count(shape) * dtype.itemsize or order not in ("C", "F"):
        raise ValueError(f"an array of shape {str(shape)[:80]} does not fit its bytes; the file is cut off or damaged.")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _count(shape: Any) -> int:
    """Number of elements of an array, whose shape must be whole numbers of a size that a file can hold."""
    if not isinstance(shape, tuple) or len(shape) > 8 or any(type(n) is not int or not 0 <= n <= MAX_BYTES for n in shape):
        raise ValueError(f"an array has the shape {str(shape)[:80]}.")
    return math.prod(shape)


class _ArrayUnpickler(InertUnpickler):
    """Reads NumPy arrays, in `pickle`'s form and in joblib's; see `InertUnpickler`."""

    dispatch: ClassVar[dict[int, Any]] = dict(InertUnpickler.dispatch)

    def __init__(self, data: bytes) -> None:
        self.file, self.left_bytes = io.BytesIO(data), len(data)
        super().__init__(self.file)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return _Stored
        if module.startswith("joblib") and name.endswith("NDArrayWrapper"):
            raise ValueError("it was written by a joblib before 0.10, with arrays in other files; load it there and save it again.")
        if (module, name) == ("numpy", "dtype"):
            return _Numbers
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return lambda *arguments: _Array()
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return _of_buffer
        if (module, name) == ("_codecs", "encode"):  # bytes, in protocols before 3
            return lambda text, encoding: text.encode("latin1") if encoding == "latin1" else Inert()
        return super().find_class(module, name)

    def load_build(self) -> None:
        """State of an object; behind joblib's description of an array come its bytes."""
        InertUnpickler.dispatch[pickle.BUILD[0]](self)
        if isinstance(self.stack[-1], _Stored):
            self.stack[-1] = self._stored(self.stack[-1].state)

    def load_bytearray8(self) -> None:
        """Bytes that belong to an array, in protocol 5; read, never allocated by the size that the file claims."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(size))

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _stored(self, state: Any) -> Any:
        if not isinstance(state, Mapping) or not isinstance(state.get("dtype"), _Numbers):
            raise ValueError("joblib's description of an array is incomplete.")
        dtype, shape = state["dtype"].dtype(), state.get("shape")
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.seek(self._raw(1)[0], io.SEEK_CUR)
        array = _Array()
        array.value = _array(self._raw(_count(shape) * dtype.itemsize), shape, dtype, state.get("order"))
        return array

    def _raw(self, size: int) -> bytes:
        """The next `size` bytes of the file; what the pickle's last frame holds has been read by then."""
        data = self.file.read(min(size, self.left_bytes))
        if len(data) < size:
            raise ValueError("it ends before the bytes of its arrays; it is cut off.")
        return data


def _collect(node: Any, name: str, out: dict[str, Tensor], seen: set[int], depth: int) -> None:
    """Put all arrays below `node` into `out`; an object that is met again adds nothing."""
    if isinstance(node, _Array):
        if node.value is not None:
            value = node.value.astype(node.value.dtype.newbyteorder("="))  # a copy that is writable, C order or not
            out[name] = torch.from_numpy(np.ascontiguousarray(value))
        return
    if id(node) in seen or depth > MAX_DEPTH:
        return
    inner: Any = getattr(node, "state", None) if isinstance(node, Inert) else node
    if isinstance(inner, Mapping):
        entries: Any = [(str(key), value) for key, value in inner.items()]
    elif isinstance(inner, (list, tuple)):
        entries = [(str(i), value) for i, value in enumerate(inner)]
    else:
        return
    seen.add(id(node))
    for key, value in entries:
        _collect(value, f"{name}.{key}" if name else key, out, seen, depth + 1)
