"""Files of a corpus that prove themselves: JSON with a checksum of its own bytes, Arrow files that end in one.

A single altered byte of such a file is found when it is read. Values are as they were written, but not yet of the right types:
`codecs.config.from_mapping` reads them into dataclasses.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...codecs.config import ConfigError, parse_json
from ...codecs.files import replacing, write_bytes
from ...codecs.sealing import BLANK, is_whole, sealed

#: Last key of a sealed file.
_SEAL = "checksum"


class CorpusError(ValueError):
    """A folder that holds no finished corpus, one of another version, or one that was altered."""


def write_json(path: Path, value: Any) -> None:
    """Write a mapping, in its own order of keys; names of files that are not UTF-8 come back as they were."""
    write_bytes(path, _dumped(value))


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote.

    Raises:
        CorpusError: no JSON, not finite numbers, or nested too deeply; the message names the file.
    """
    return _parsed(path, path.read_bytes())


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """`write_json` with a checksum of the file as its last key."""
    write_bytes(path, sealed(_dumped({**value, _SEAL: BLANK})))


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the checksum.

    Raises:
        CorpusError: no JSON, no mapping, or altered since it was written.
    """
    value, whole = read_unsealed(path)
    if not whole:
        raise CorpusError(f"{path} was altered: its checksum does not match. Copy it again from its source.")
    return value


def read_unsealed(path: Path) -> tuple[dict[str, Any], bool]:
    """A sealed file, without its checksum, and whether that matches."""
    if path.is_dir():
        raise CorpusError(f"{path} is a folder, not the file that was written here.")
    data = path.read_bytes()
    value = _parsed(path, data)
    if not isinstance(value, dict):
        raise CorpusError(f"{path} holds no mapping, but {type(value).__name__}. Copy it again from its source.")
    return value, is_whole(data, value.pop(_SEAL, None))


def _dumped(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def _parsed(path: Path, data: bytes) -> Any:
    try:
        return parse_json(data.decode("utf-8", "surrogateescape"))
    except ConfigError as error:
        raise CorpusError(f"{path} is not JSON that can be read: {error}") from error


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table of one chunk as an Arrow file, followed by the sha256 of its bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table, max_chunksize=max(1, table.num_rows))
    data = sink.getvalue()
    with replacing(path) as file:
        file.write(data)
        file.write(hashlib.sha256(data).digest())


def map_arrow(path: Path) -> pa.Table:
    """A table that `write_arrow` wrote, mapped into memory; all of its bytes are checked before any is used.

    Raises:
        CorpusError: altered or cut.
    """
    if not path.is_file() or path.stat().st_size <= 32:
        raise CorpusError(f"{path} is no Arrow file that was written whole.")
    data = pa.memory_map(str(path)).read_buffer()
    body, seal = data.slice(0, data.size - 32), data.slice(data.size - 32)
    if hashlib.sha256(body).digest() != seal.to_pybytes():
        raise CorpusError(f"{path} was altered: its checksum does not match.")
    try:
        table = pa.ipc.open_file(pa.BufferReader(body)).read_all()
        _ = table.column_names  # UTF-8, as all that `write_arrow` writes
        return table
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} is no Arrow file of this library: {(str(error).splitlines() or ['?'])[0][:200]}.") from error
