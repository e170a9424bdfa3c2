"""Read Qt resource collections (`.rcc`), the single-file folders in which Qt programs keep their pictures.

Layout, all integers big-endian: magic `qres`, then u32 format version, and the offsets of the tree, of the data
and of the names (version 3 adds u32 flags). A tree entry has 14 bytes in version 1 and 22 (+ u64 time stamp) from
version 2 on:

    u32 name offset | u16 flags | folder: u32 number of children, u32 index of the first child
                                | file:   u16 country, u16 language, u32 data offset

A name is u16 length, u32 hash, UTF-16 text. A file's data is u32 size and that many bytes; flag 1 means zlib (after
a u32 with the unpacked size), flag 4 means zstd.
Source: the Qt project's documentation of `rcc`; written from this layout, without code of theirs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

ZLIB, FOLDER, ZSTD = 1, 2, 4


class RccError(ValueError):
    """The bytes are not a resource collection that can be read; the message gives the reason."""


@dataclass(frozen=True, kw_only=True)
class RccFile:
    """One file of a collection: its path with `/` and its unpacked bytes."""

    path: str
    data: bytes


def read_rcc(blob: bytes, *, suffixes: tuple[str, ...] = ("",)) -> Iterator[RccFile]:
    """The files of a collection whose path ends in one of `suffixes`, in the order of the tree.

    Raises:
        RccError: wrong magic, unknown version, offsets outside the file, or a compression that is not built in.
    """
    if blob[:4] != b"qres":
        raise RccError(f"not a Qt resource collection: it begins with {blob[:4]!r} instead of b'qres'")
    try:
        version, tree, data, names = struct.unpack_from(">4I", blob, 4)
        if version not in (1, 2, 3):
            raise RccError(f"resource format version {version}; versions 1 to 3 are known")
        yield from _walk(blob, _Offsets(tree, data, names, 14 if version == 1 else 22), 0, "", suffixes, depth=0)
    except (struct.error, zlib.error) as error:
        raise RccError(f"damaged resource collection of {len(blob)} bytes: {error}") from error


@dataclass(frozen=True)
class _Offsets:
    tree: int
    data: int
    names: int
    entry_size: int


def _walk(blob: bytes, at: _Offsets, index: int, folder: str, suffixes: tuple[str, ...], *, depth: int) -> Iterator[RccFile]:
    if depth > 64:
        raise RccError("folders nested deeper than 64 levels: the tree of this collection is damaged")
    entry = at.tree + index * at.entry_size
    name_offset, flags = struct.unpack_from(">IH", blob, entry)
    path = folder if index == 0 else f"{folder}/{_name(blob, at.names + name_offset)}".lstrip("/")
    if flags & FOLDER:
        count, first = struct.unpack_from(">II", blob, entry + 6)
        for child in range(first, first + count):
            if child <= index:
                raise RccError(f"entry {index} of the tree lists entry {child} as its child: the tree is damaged")
            yield from _walk(blob, at, child, path, suffixes, depth=depth + 1)
    elif path.endswith(suffixes):
        (offset,) = struct.unpack_from(">I", blob, entry + 10)
        yield RccFile(path=path, data=_contents(blob, at.data + offset, flags, path))


def _name(blob: bytes, offset: int) -> str:
    (length,) = struct.unpack_from(">H", blob, offset)
    return blob[offset + 6 : offset + 6 + 2 * length].decode("utf-16-be")


def _contents(blob: bytes, offset: int, flags: int, path: str) -> bytes:
    (size,) = struct.unpack_from(">I", blob, offset)
    packed = blob[offset + 4 : offset + 4 + size]
    if len(packed) != size:
        raise RccError(f"{path}: {size} bytes announced at {offset}, the file ends after {len(packed)}")
    if flags & ZLIB:
        return zlib.decompress(packed[4:])
    if flags & ZSTD:
        raise RccError(f"{path} is packed with zstd, which this reader does not unpack")
    return packed
