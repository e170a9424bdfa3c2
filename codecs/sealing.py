"""Checksums of files, and text files that contain a checksum of their own bytes, so that a single altered byte is noticed.

    data = sealed(text_with(BLANK))          # BLANK is replaced by the checksum
    is_whole(data, checksum_found_in_it)
"""

import hashlib
import os
from typing import Any

#: Placeholder for the checksum while it is computed.
BLANK = "0" * 64


def sealed(data: bytes) -> bytes:
    """`data` with its sha256 in place of the last `BLANK` in it."""
    head, _, tail = data.rpartition(BLANK.encode())
    return head + hashlib.sha256(data).hexdigest().encode() + tail


def is_whole(data: bytes, seal: Any) -> bool:
    """Whether the checksum `seal`, read from `data`, is that of `data`; False if `seal` is not a checksum at all."""
    if not isinstance(seal, str) or len(seal) != len(BLANK) or not seal.isascii():
        return False
    head, found, tail = data.rpartition(seal.encode())
    return bool(found) and hashlib.sha256(head + BLANK.encode() + tail).hexdigest() == seal


def sha256_of(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's bytes, 64 hexadecimal digits; the file is read in chunks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
