"""Check whether a sound file is complete: decoders of uncompressed sound silently return what is left of a truncated file.

`whole` walks the chunks of RIFF and RF64 WAV, Wave64, AIFF, CAF, MP4 and Matroska, and reads the lengths in the headers of AU and NIST.
MPEG audio and Ogg are checked by `mpeg.py` and `ogg.py`; for FLAC and the rest the decoder itself reports how much is missing.

Programs that write to a pipe cannot fill in the length afterwards. They leave 0 or a number near 2^31 or 2^32, which means "to the
end".
"""

import io
import re
import struct
from typing import BinaryIO

from .errors import MediaError

#: Numbers that sox (AIFF, WAV), arecord and ffmpeg write in place of an unknown length; values within `_NEAR` of them mean the same.
_OPEN_ENDED = (0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_NEAR = 256
#: Elements at the top of a Matroska or WebM file (RFC 8794, 9559).
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
#: Wave64 names chunks by GUIDs; its own GUIDs begin with four letters.
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def whole(file: BinaryIO, name: str) -> BinaryIO:
    """Check that a sound file holds all the samples that its header claims.

    Args:
        file: a seekable file at any position; afterwards it is at its start.
        name: name of the file in messages.

    Returns:
        The file, or a copy in memory with a corrected header where decoders would not understand an unknown length.

    Raises:
        MediaError: the file is truncated.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(64)
    out = file
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        out = _riff(file, size, "<" if head[:4] == b"RIFF" else ">", name)
    elif head[:4] in (b"RF64", b"BW64") and head[8:12] == b"WAVE":
        _rf64(file, size, name)
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        at, length = _find(file, size, 12, ">4sI", b"SSND", name)
        _check(at, length, size, name)
    elif head[:4] == b"riff" and head[28:40] == _W64_TAIL:
        _wave64(file, size, name)
    elif head[:4] == b"caff":
        at, length = _find(file, size, 8, ">4sq", b"data", name, pad=1)
        if length >= 0:  # -1: to the end
            _check(at, length, size, name)
    elif head[:4] in (b".snd", b"dns."):
        at, length = struct.unpack((">" if head[:4] == b".snd" else "<") + "II", head[4:12].ljust(8, b"\0"))
        _check(at, length, size, name)
    elif head[:7] == b"NIST_1A":
        _nist(file, size, name)
    elif head[4:8] == b"ftyp":
        _mp4(file, size, name)
    elif head[:4] == _EBML:
        _matroska(file, size, name)
    out.seek(0)
    return out


def _check(at: int, length: int, size: int, name: str) -> None:
    """Raise MediaError if the file ends before `length` bytes from `at` on; unknown lengths pass."""
    is_open = length == 0 or any(abs(length - n) <= _NEAR for n in _OPEN_ENDED)
    if not is_open and at + length > size:
        raise MediaError(f"{name} is truncated: {max(0, size - at)} of {length} bytes of samples are there.")


def _find(file: BinaryIO, size: int, at: int, layout: str, chunk: bytes, name: str, *, pad: int = 2) -> tuple[int, int]:
    """(offset, stated length in bytes) of the contents of the chunk called `chunk`; MediaError if there is none.

    Args:
        at: offset of the first chunk.
        layout: `struct` format of a chunk's header: name and length.
        pad: chunks begin at multiples of this.
    """
    step = struct.calcsize(layout)
    while at + step <= size:
        file.seek(at)
        kind, length = struct.unpack(layout, file.read(step))
        if kind == chunk:
            return at + step, length
        if length < 0:
            break
        at += step + length + -length % pad
    raise MediaError(f"{name} is truncated: it ends before its samples.")


def _riff(file: BinaryIO, size: int, order: str, name: str) -> BinaryIO:
    at, length = _find(file, size, 12, order + "4sI", b"data", name)
    _check(at, length, size, name)
    file.seek(4)
    (claimed,) = struct.unpack(order + "I", file.read(4))
    if length or size == at or at < claimed + 8 < 0x7F000000:  # in the last case other chunks follow no samples
        return file
    file.seek(0)  # bytes follow an empty chunk that should be the last: a length never filled in
    head = bytearray(file.read(at))
    head[4:8] = head[at - 4 : at] = b"\xff" * 4
    return io.BytesIO(bytes(head) + file.read())


def _rf64(file: BinaryIO, size: int, name: str) -> None:
    _find(file, size, 12, "<4sI", b"ds64", name)
    _, length = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
    start, short = _find(file, size, 12, "<4sI", b"data", name)
    length = length if short == 0xFFFFFFFF else short
    if length < 2**63:
        _check(start, length, size, name)


def _wave64(file: BinaryIO, size: int, name: str) -> None:
    at = 40
    while at + 24 <= size:
        file.seek(at)
        kind, length = struct.unpack("<16sQ", file.read(24))
        if kind[:4] == b"data":
            return _check(at + 24, length - 24, size, name) if 24 < length < 2**63 else None
        if length < 24:
            break
        at += length + -length % 8
    raise MediaError(f"{name} is truncated: it ends before its samples.")


def _nist(file: BinaryIO, size: int, name: str) -> None:
    file.seek(0)
    text = file.read(1024).decode("latin-1")
    facts = {key: int(value) for key, value in re.findall(r"^(\w+) -i (\d+)", text, re.MULTILINE)}
    try:
        length = facts["sample_count"] * facts.get("channel_count", 1) * facts["sample_n_bytes"]
    except KeyError:
        return
    first = re.match(r"NIST_1A\s+(\d+)", text)
    if "shorten" not in text and "wavpack" not in text:  # compressed samples take less
        _check(int(first[1]) if first else 1024, length, size, name)


def _mp4(file: BinaryIO, size: int, name: str) -> None:
    """Check that no top-level box ends beyond the file, and that there is the index `moov`, which decoding needs."""
    at, kinds = 0, set()
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))
        length = size - at if length == 0 else length
        if length < 8 or not kind.isalnum():
            break  # junk after the last box
        kinds.add(kind)
        if at + length > size:
            raise MediaError(f"{name} is truncated: {size - at} of {length} bytes of its box {kind.decode('latin-1')!r} are there.")
        at += length
    if b"moov" not in kinds:
        raise MediaError(f"{name} is truncated: its index, the box 'moov', is missing.")


def _matroska(file: BinaryIO, size: int, name: str) -> None:
    """Check the lengths of the header and of the segment after it, which contains all else; from a pipe it states none."""
    at = 0
    for kind in (_EBML, _SEGMENT):
        file.seek(at)
        head = file.read(12)
        width = 9 - head[4].bit_length() if len(head) > 4 and head[4] else 0  # bytes of the length, its own first bits included
        if head[:4] != kind or not width:
            return
        length = int.from_bytes(head[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        at += 4 + width
        if length < (1 << 7 * width) - 1:  # all ones: to the end
            if at + length > size:
                raise MediaError(f"{name} is truncated: {size - at} of {length} bytes are there.")
            at += length
