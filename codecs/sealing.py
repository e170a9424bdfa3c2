"""Checksums of files, and text files that hold one of their own bytes, so that a single altered byte is noticed.

    data = sealed(text_with(BLANK))          # BLANK stands where the checksum comes
    is_whole(data, checksum_found_in_it)
"""

import hashlib
import os
from typing import Any

#: What stands in place of the checksum while it is computed.
BLANK = "0" * 64


def sealed(data: bytes) -> bytes:
    """`data` with its sha256 in place of the last `BLANK` in it."""
    head, _, tail = data.rpartition(BLANK.encode())
    return head + hashlib.sha256(data).hexdigest().encode() + tail


def is_whole(data: bytes, seal: Any) -> bool:
    """Whether `data`, in which `seal` was found, is what `sealed` made; False for a `seal` that is no checksum."""
    if not isinstance(seal, str) or len(seal) != len(BLANK) or not seal.isascii():
        return False
    head, found, tail = data.rpartition(seal.encode())
    return bool(found) and hashlib.sha256(head + BLANK.encode() + tail).hexdigest() == seal


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Checksum of a file's bytes, in hexadecimal digits; the file is read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
