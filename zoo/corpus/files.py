"""JSON files of a corpus, and checksums."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ...codecs.files import write_bytes


def write_json(path: Path, value: Any) -> None:
    """Write a mapping, in its own order of keys; names of files that are not UTF-8 come back as they were."""
    write_bytes(path, json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n")


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote."""
    return json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))


def sha256_of(path: Path) -> str:
    """Checksum of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
