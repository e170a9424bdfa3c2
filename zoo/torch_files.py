"""Weight files of PyTorch, read without executing any code in them.

`torch.save` writes a pickle beside raw bytes; a pickle is a program that may name any function of any module. Here nothing is
imported: classes and functions that a file names become inert placeholders, tensors and plain containers are returned. Three formats
are read: zip archives (PyTorch 1.6 and newer), the stream of pickles of older versions, and TorchScript archives (`.jit`). Bytes of
tensors are memory-mapped, not copied, so that tensors that are not used take no memory.

    data = read_torch("model.ckpt")      # what was saved: a state dict, or a dictionary that holds some
"""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, Self

import torch
from torch import Tensor

from ..codecs.serialize import CheckpointError

#: Resource limits for untrusted files. Published checkpoints stay far below each.
MAX_OPERATIONS = 20_000_000  # of one pickle; 16,000 tensors with their optimiser states need about 2,000,000
MAX_PICKLE_BYTES = 1 << 28
MAX_DEPTH = 64
MAX_EXPANDED = 10_000_000  # elements of a tensor with more elements than are stored (strides of 0)

_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_torch(path: Path, *, start: int = 0, size: int | None = None) -> Any:
    """Return the contents of a `.pt`, `.pth`, `.th`, `.ckpt`, `.bin` or `.jit` file.

    Args:
        path: the file.
        start, size: offset and length in bytes of the part to read, for members of an uncompressed archive.

    Returns:
        Tensors in plain dictionaries, lists and tuples; objects of unknown classes are left out of dictionaries. A pickled or
        scripted module is its state dict.

    Raises:
        CheckpointError: the file is broken, cut off, or exceeds one of the limits above.
    """
    try:
        size = path.stat().st_size - start if size is None else size
        if size == 0:
            raise CheckpointError(f"{path} is empty; download or copy it again.")
        mapped = torch.from_file(str(path), shared=False, size=start + size, dtype=torch.uint8)[start:]
        with path.open("rb") as file:
            return _read(_Window(file, start, size), mapped, str(path))
    except CheckpointError:
        raise
    except BROKEN as error:
        raise CheckpointError(f"{path} is no file of weights that can be read: {short(error)}") from error


def read_torch_bytes(data: bytes, name: str) -> Any:
    """`read_torch` of the bytes of a file; `name` is for messages."""
    try:
        mapped = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return _read(io.BytesIO(data), mapped, name)
    except CheckpointError:
        raise
    except BROKEN as error:
        raise CheckpointError(f"{name} is no file of weights that can be read: {short(error)}") from error


#: Whatever a broken pickle, zip or tensor description raises on the way.
BROKEN = (
    pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, IndexError, ValueError, TypeError, AttributeError,
    RuntimeError, OverflowError, RecursionError, MemoryError, NotImplementedError, struct.error, UnicodeDecodeError, OSError,
)  # fmt: skip


def short(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text[:200] + ("" if text.endswith(".") else ".")


class _Bytes(Protocol):
    """What is read of a file, or of a window of one."""

    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...


def _read(file: _Bytes, mapped: Tensor, name: str) -> Any:
    head = file.read(4)
    file.seek(0)
    if head[:2] == b"PK":
        return _plain(_read_zip(file, mapped))
    if b"<" in head[:1] or head.startswith(b"vers"):  # a web page, a pointer of Git LFS
        raise CheckpointError(f"{name} is text, not weights (a web page, or the pointer of a file that was not fetched).")
    return _plain(_read_stream(file, mapped))


# --- the file formats -----------------------------------------------------------------------------------------------


def _read_zip(file: _Bytes, mapped: Tensor) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {i.filename: i for i in archive.infolist()}
        name = next((n for n in entries if n.count("/") == 1 and n.endswith("/data.pkl")), None)
        if name is None:
            raise ValueError("the archive holds no data.pkl.")
        folder = name.removesuffix("data.pkl")
        if (order := entries.get(folder + "byteorder")) is not None and archive.read(order)[:3] == b"big":
            raise ValueError("it was written on a big-endian machine.")
        program = bytes(_stored(file, mapped, entries[name], limit=MAX_PICKLE_BYTES).numpy())

        def storage(key: str) -> Tensor:
            entry = entries.get(f"{folder}data/{key}") or entries[f"{folder}constants/{key}"]
            return _stored(file, mapped, entry)

        return _Unpickler(io.BytesIO(program), storage).run()


def _stored(file: _Bytes, mapped: Tensor, entry: zipfile.ZipInfo, *, limit: int | None = None) -> Tensor:
    """Bytes of one member of the archive, as a view of the mapped file."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ValueError(f"its member {entry.filename!r} is compressed, which torch.save never does.")
    if limit is not None and entry.file_size > limit:
        raise ValueError(f"its member {entry.filename!r} has {entry.file_size} bytes; {limit} are allowed.")
    file.seek(entry.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError(f"its member {entry.filename!r} is not at the offset that the archive gives.")
    at = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    if at + entry.file_size > len(mapped):
        raise ValueError(f"it ends before its member {entry.filename!r}; it is cut off.")
    return mapped[at : at + entry.file_size]


def _read_stream(file: _Bytes, mapped: Tensor) -> Any:
    """The format of PyTorch before 1.6: pickles one after the other, then the bytes of all storages."""

    def no_storage(key: str) -> Tensor:
        raise ValueError("its header refers to a storage.")

    if _Unpickler(file, no_storage).run() != _LEGACY_MAGIC:
        raise ValueError("it was not written by torch.save.")
    _Unpickler(file, no_storage).run()  # protocol
    _Unpickler(file, no_storage).run()  # sizes of integers on that machine
    places: dict[str, Tensor] = {}
    data = _Unpickler(file, places.__getitem__, widths=True)
    root = data.run()
    for key in _Unpickler(file, no_storage).run():
        dtype = data.kinds[key]
        (count,) = struct.unpack("<q", file.read(8))
        at, nbytes = file.tell(), count * dtype.itemsize
        if count < 0 or at + nbytes > len(mapped):
            raise ValueError("it ends before its last weights; it is cut off.")
        places[key] = mapped[at : at + nbytes]
        file.seek(nbytes, io.SEEK_CUR)
    return root


# --- the pickle -----------------------------------------------------------------------------------------------------


class Inert:
    """Placeholder for a class or function that a file names, and for its objects: accepts any arguments, does nothing."""

    state: Any
    entries: dict[Any, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        out = super().__new__(cls)  # a pickle may make an object without calling `__init__`
        out.state, out.entries = None, {}
        return out

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...


@dataclass(eq=False)
class _Stored:
    """Description of a storage: key of its bytes, type and number of its elements."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(eq=False)
class _Later:
    """Description of a tensor, as the pickle gives it: a strided view of a storage."""

    storage: _Stored
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    bytes_of: Any

    def build(self) -> Tensor:
        raw: Tensor = self.bytes_of(self.storage.key)
        numbers = (self.offset, *self.size, *self.stride)
        if len(self.size) != len(self.stride) or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError("a tensor has an invalid shape or stride.")
        item, have = self.dtype.itemsize, len(raw) // self.dtype.itemsize
        count = 1
        for n in self.size:
            count *= n
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride)) if count else 0
        if count and last >= have:
            raise ValueError("a tensor is larger than its bytes; the file is cut off or damaged.")
        if count > max(have, MAX_EXPANDED):
            raise ValueError(f"a tensor of {count} numbers is stored in {have}.")
        if not count:
            return torch.empty(self.size, dtype=self.dtype)
        raw = raw[: have * item]
        if raw.storage_offset() % item:
            raw = raw.clone()
        return raw.view(self.dtype).as_strided(self.size, self.stride, raw.storage_offset() // item + self.offset)


class InertUnpickler(pickle._Unpickler):
    """The pure Python unpickler, whose memory grows with the file only, with a `find_class` that imports nothing.

    Args:
        file: positioned at the start of a pickle.
    """

    stack: Any  # these three are set by `load`
    append: Any
    read: Any
    dispatch: ClassVar[dict[int, Any]] = {
        code: run
        for code, run in pickle._Unpickler.dispatch.items()
        if bytes([code]) not in (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.EXT1, pickle.EXT2, pickle.EXT4)
    }

    def __init__(self, file: _Bytes) -> None:
        super().__init__(_Counted(file), encoding="latin1", errors="replace")
        self.classes: dict[tuple[str, str], type[Inert]] = {}

    def run(self) -> Any:
        """The object that the pickle describes."""
        return self.load()

    def find_class(self, module: str, name: str) -> Any:
        """Plain containers by their names, and an `Inert` class for every other name."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module in ("builtins", "__builtin__") and name in ("list", "dict", "tuple", "set", "frozenset"):
            return {"list": list, "dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset}[name]
        return self.classes.setdefault((module, name), type("Inert", (Inert,), {"named": f"{module}.{name}"}))


class _Unpickler(InertUnpickler):
    """Reads tensors; `bytes_of` returns the bytes of a storage by its key."""

    def __init__(self, file: _Bytes, bytes_of: Any, *, widths: bool = False) -> None:
        super().__init__(file)
        self.bytes_of, self.kinds = bytes_of, {}

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("torch._utils", "_rebuild_tensor"): self._rebuild,
            ("torch._utils", "_rebuild_tensor_v2"): self._rebuild,
            ("torch._utils", "_rebuild_tensor_v3"): self._rebuild_v3,
            ("torch._utils", "_rebuild_parameter"): lambda data, *rest: data,
            ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *rest: data,
            ("torch._tensor", "_rebuild_from_type_v2"): lambda build, kind, args, state: build(*args),
            ("torch", "Size"): tuple,
        }
        if (module, name) in known:
            return known[module, name]
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # in the format before 1.6: a class with its source text
            return pid[1]
        kind, dtype, key, _, count, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"it refers to {kind!r}.")
        self.kinds[key] = dtype
        return _Stored(key, dtype, count)

    def _rebuild(self, storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Any:
        return _Later(storage, offset, tuple(size), tuple(stride), storage.dtype, self.bytes_of)

    def _rebuild_v3(self, storage: Any, offset: int, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any) -> Any:
        return _Later(storage, offset, tuple(size), tuple(stride), dtype, self.bytes_of)


class _Counted:
    """A file that counts its reads, to limit the operations of a pickle: each begins with a read."""

    def __init__(self, file: _Bytes) -> None:
        self._file, self.left = file, MAX_OPERATIONS

    def read(self, size: int) -> bytes:
        self.left -= 1
        if self.left < 0 or size > MAX_PICKLE_BYTES:
            raise pickle.UnpicklingError("its description is longer than any published checkpoint's.")
        return self._file.read(size)

    def readline(self) -> bytes:
        self.left -= 1
        return self._file.readline(1 << 20)

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Window(io.RawIOBase):
    """A byte range of a file as a read-only file object."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        self._file.seek(self._start + self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data


# --- results ------------------------------------------------------------------------------------------------------


def _plain(root: Any) -> Any:
    """`root` with its tensors built and placeholders left out; modules become state dicts."""
    return _Builder().build(root, 0)


class _Builder:
    def __init__(self) -> None:
        self.open: set[int] = set()  # ids of the containers that are being built, to find one that contains itself
        self.left = MAX_OPERATIONS

    def build(self, node: Any, depth: int) -> Any:
        if isinstance(node, _Later):
            return node.build()
        if isinstance(node, Inert):
            state = _state_of(node)
            return self.build(state, depth) if state else node
        if not isinstance(node, (Mapping, list, tuple)):
            return node
        self.left -= len(node)
        if id(node) in self.open or depth > MAX_DEPTH or self.left < 0:
            raise ValueError("its containers contain themselves, or are nested too deeply.")
        self.open.add(id(node))
        if isinstance(node, Mapping):
            built = {k: self.build(v, depth + 1) for k, v in node.items()}
            out: Any = {k: v for k, v in built.items() if not isinstance(v, (Inert, type)) and not isinstance(k, (Inert, type))}
        else:
            out = [self.build(v, depth + 1) for v in node]
            out = tuple(out) if isinstance(node, tuple) else out
        self.open.discard(id(node))
        return out


def _state_of(node: Inert) -> dict[str, Any]:
    """The state dict of a pickled or scripted module, by the names of its attributes; {} for any other object."""
    out: dict[str, Any] = {}
    _collect(node, "", out, set(), 0)
    return out


def _collect(node: Inert, prefix: str, out: dict[str, Any], seen: set[int], depth: int) -> None:
    if id(node) in seen or depth > MAX_DEPTH or not isinstance(node.state, Mapping):
        return
    seen.add(id(node))
    attributes: dict[str, Any] = {}
    for name, value in node.state.items():
        if name in ("_parameters", "_buffers", "_modules") and isinstance(value, Mapping):
            attributes |= value
        else:
            attributes[str(name)] = value
    for name, value in attributes.items():
        if isinstance(value, _Later):
            out[f"{prefix}{name}"] = value
        elif isinstance(value, Inert):
            _collect(value, f"{prefix}{name}.", out, seen, depth + 1)
