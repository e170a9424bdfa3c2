"""Files of a corpus that prove themselves: JSON with a checksum of its own bytes, Arrow files that end in one.

A single altered byte of such a file is found when it is read. Values are as they were written, but not yet of the right types:
`codecs.config.from_mapping` reads them into dataclasses.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...codecs.files import replacing, write_bytes

#: Last key of a sealed file: sha256 of the whole file with zeros in its place.
_SEAL, _ZEROS = "checksum", "0" * 64
_SEALED = re.compile(rb'(,\n "checksum": ")([0-9a-f]{64})("\n\}\n)\Z')


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
    data = _dumped({**value, _SEAL: _ZEROS})
    write_bytes(path, _SEALED.sub(rb"\g<1>" + hashlib.sha256(data).hexdigest().encode() + rb"\g<3>", data))


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
    data = path.read_bytes()
    value = _parsed(path, data)
    if not isinstance(value, dict):
        raise CorpusError(f"{path} holds no mapping, but {type(value).__name__}. Copy it again from its source.")
    value.pop(_SEAL, None)
    seal = _SEALED.search(data)
    if seal is None:
        return value, False
    plain = data[: seal.start(2)] + _ZEROS.encode() + data[seal.end(2) :]
    return value, hashlib.sha256(plain).hexdigest().encode() == seal.group(2)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def _parsed(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8", "surrogateescape"), parse_constant=_finite, parse_float=_finite)
    except RecursionError as error:
        raise CorpusError(f"{path} is not JSON that can be read: it is nested too deeply.") from error
    except ValueError as error:
        raise CorpusError(f"{path} is not JSON: {str(error)[:200]}") from error


def _finite(text: str) -> float:
    """A number of a JSON file; NaN and infinity are in no file of ours."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:20]} is not finite")
    return value


def sha256_of(path: Path) -> str:
    """Checksum of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    return pa.ipc.open_file(pa.BufferReader(body)).read_all()
